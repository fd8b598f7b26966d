"""Scores of a word by the kernel against those by NumPy."""

import numpy as np
import pytest

from elasticdenser.index.lexical import best_passages
from elasticdenser.index.lexical.best_passages import Term, Terms
from elasticdenser.kernel.paths import kernel_paths

pytestmark = pytest.mark.skipif(not kernel_paths(), reason="the kernel was not built here")
N = 500


@pytest.fixture
def query():
    rng = np.random.default_rng(2)
    terms = []
    for weight, share in ((5.3, 0.01), (2.1, 0.1), (0.7, 0.6), (0.3, 0.9)):
        passages = np.flatnonzero(rng.random(N) < share).astype(np.uint32)
        terms.append(Term(weight, passages, rng.integers(1, 9, len(passages)).astype(np.uint16)))
    return Terms.of(terms, rng.integers(0, 90, N).astype(np.uint32), 0.54, 0.0081)


@pytest.mark.parametrize("k", [1, 10, 100, N])
@pytest.mark.parametrize("share", [None, 0.5, 0.0])
def test_hits_are_those_of_numpy_to_the_bit(query, k, share, monkeypatch):
    allowed = None if share is None else np.random.default_rng(1).random(N) < share
    also = np.arange(N) if allowed is None else np.flatnonzero(allowed)
    by_kernel = best_passages.best_passages(query, k, N, also, allowed)
    monkeypatch.setattr(best_passages, "_add_word_by_kernel", None)
    for found, expected in zip(by_kernel, best_passages.best_passages(query, k, N, also, allowed), strict=True):
        assert np.array_equal(found, expected)


def arguments(**changes):
    values = {
        "passages": np.array([0, 2], np.uint32),
        "counts": np.array([1, 3], np.uint16),
        "lengths": np.array([4, 4, 4], np.uint32),
        "weight": 1.0,
        "constant": 0.5,
        "by_length": 0.1,
        "allowed": None,
        "sums": np.zeros(3, np.float32),
        "found": np.zeros(2, np.int64),
    }
    return list((values | changes).values())


def test_sums_and_new_passages():
    from elasticdenser.kernel import _kernel

    sums, found = np.array([1, 0, 0], np.float32), np.zeros(2, np.int64)
    assert _kernel.add_word(*arguments(sums=sums, found=found)) == 1
    assert found[0] == 2
    assert np.allclose(sums, [1 + 1 / 1.9, 0, 3 / 3.9])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"passages": np.array([0, 3], np.uint32)}, "a passage that does not exist, expected less than 3"),
        ({"counts": np.array([1], np.uint16)}, "2 bytes of counts, expected at least 4"),
        ({"allowed": np.ones(2, bool)}, "2 bytes of allowed, expected at least 3"),
        ({"sums": np.zeros(2, np.float32)}, "8 bytes of sums, expected at least 12"),
        ({"found": np.zeros(1, np.int64)}, "8 bytes of found, expected at least 16"),
    ],
)
def test_buffers_that_do_not_fit_are_refused(changes, message):
    from elasticdenser.kernel import _kernel

    with pytest.raises(ValueError, match=message):
        _kernel.add_word(*arguments(**changes))
