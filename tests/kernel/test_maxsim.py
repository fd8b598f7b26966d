"""Highest cosines of late interaction: the same by every path as in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.kernel import _kernel
from elasticdenser.kernel.maxsim import highest_cosines
from elasticdenser.kernel.paths import kernel_paths

BEHIND = 4
"""Bytes behind the numbers of a row."""


def numbers(*shape, seed=1):
    return np.random.default_rng(seed).integers(-127, 128, shape)


def expected(rows, bounds, query):
    """Return the same by definition, with the divisions in the kernel's order."""
    products = rows.astype(np.float32) @ query.T
    cosines = products / np.sqrt(np.maximum((rows.astype(np.float32) ** 2).sum(axis=1, keepdims=True), 1))
    norms = np.sqrt(np.maximum((query * query).sum(axis=1), np.float32(1)))
    return np.stack([cosines[start:end].max(axis=0, initial=-np.inf) for start, end in bounds]) / norms


@pytest.mark.parametrize("path", kernel_paths())
@pytest.mark.parametrize(("dim", "n_tokens"), [(128, 9), (64, 16), (8, 1), (100, 33), (1, 2), (768, 20)])
def test_cosines_are_those_of_numpy_to_the_bit(path, dim, n_tokens):
    rows = numbers(41, dim + BEHIND).astype(np.int8)
    rows[5] = 0
    bounds = np.array([[0, 1], [1, 4], [4, 8], [9, 9], [8, 40]])
    query = numbers(n_tokens, dim, seed=2).astype(np.float32)
    query[n_tokens // 2] = 0
    found = highest_cosines(rows.view(np.uint8), dim, bounds, query, path=path)
    assert found.shape == (5, n_tokens) and found.dtype == np.float32
    np.testing.assert_array_equal(found, expected(rows[:, :dim], bounds, query))
    alone = highest_cosines(rows.view(np.uint8), dim, bounds[4:], query, path=path)
    np.testing.assert_array_equal(alone, found[4:])


def test_a_token_finds_itself():
    rows = numbers(3, 16 + BEHIND).astype(np.int8)
    query = rows[1:2, :16].astype(np.float32)
    found = highest_cosines(rows.view(np.uint8), 16, np.array([[0, 1], [0, 3]]), query)
    assert found[1, 0] == pytest.approx(1) and found[0, 0] < 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "got 0 numbers in rows of 12 bytes"),
        ({"dim": 13}, "got 13 numbers in rows of 12 bytes"),
        ({"bounds": np.array([[0, 4]])}, "got rows 0 to 4, expected 0 to 3"),
        ({"bounds": np.array([[-1, 2]])}, "got rows -1 to 2, expected 0 to 3"),
        ({"query": np.zeros((8, 15), np.float32)}, "got 15 columns, expected a multiple of 16"),
        ({"query": np.zeros((8, 16), np.float32)[:, :0]}, None),
        ({"highest": np.zeros((1, 15), np.float32)}, "highest"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments = {
        "rows": np.zeros((3, 12), np.uint8),
        "row_bytes": 12,
        "dim": 8,
        "bounds": np.array([[0, 3]]),
        "query": np.zeros((8, 16), np.float32),
        "highest": np.zeros((1, 16), np.float32),
    } | change
    if message is None:
        _kernel.maxsim(0, *arguments.values())
        return
    with pytest.raises(ValueError, match=message):
        _kernel.maxsim(0, *arguments.values())
