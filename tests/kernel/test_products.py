"""Products of the kernel, which must be the same, to the bit, on every path with vector instructions."""

from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.kernel import packing
from elasticdenser.kernel.packing import pack_matrix
from elasticdenser.kernel.paths import PORTABLE, kernel_paths, path_number
from elasticdenser.kernel.structs import KernelModel

PATHS = kernel_paths()
pytestmark = pytest.mark.skipif(not PATHS, reason="needs the kernel: python setup.py build_ext --inplace")


def product(path, packed, inputs, n_inputs=None, n_outputs=None):
    from elasticdenser.kernel import _kernel

    model = KernelModel(1, 1)
    struct = model.product(packed, n_inputs, n_outputs)
    out = np.full((len(inputs), -(-struct.n_outputs // 16) * 16), np.nan, np.float32)
    _kernel.multiply(path_number(path), struct, np.ascontiguousarray(inputs), out)
    return out[:, : struct.n_outputs]


@pytest.fixture(params=[16, 64], autouse=True)
def columns(request, monkeypatch):
    """Outputs in a block of packed weights: every path reads both layouts, whichever it is fastest with."""
    monkeypatch.setattr(packing, "packed_columns", lambda: request.param)


def whole_numbers(rng, n_rows, n_inputs):
    """Rows that are rounded to themselves: whole numbers from 0 to 255, both among them."""
    rows = rng.integers(0, 256, (n_rows, n_inputs)).astype(np.float32)
    rows[:, 0], rows[:, 1] = 0, 255
    return rows


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(384, 96), (26, 7), (78, 130), (512, 64), (64, 176), (2, 1)])
def test_sums_are_exact(path, n_inputs, n_outputs):
    rng = np.random.default_rng(n_inputs)
    weights = rng.integers(-127, 128, (n_outputs, n_inputs)).astype(np.float32)
    weights[:, 0] = 127  # so that the scale is 1
    for n_rows in (1, 5, 6, 7, 13, 16, 17, 49, 61, 65):
        rows = whole_numbers(rng, n_rows, n_inputs)
        rows[0, :] = 255 if n_rows > 1 else rows[0]  # the largest sums there are
        rows[0, 0] = 0
        outputs = product(path, pack_matrix(weights, np.zeros(n_outputs, np.float32), "int8"), rows)
        np.testing.assert_array_equal(outputs, rows @ weights.T)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("n_inputs", "n_outputs"), [(96, 48), (50, 33), (6, 70), (3, 65)])
def test_a_product_uses_the_first_inputs_and_outputs_alone(path, n_inputs, n_outputs):
    rng = np.random.default_rng(5)
    weights = rng.integers(-127, 128, (100, 120)).astype(np.float32)
    weights[:, 0] = -127
    rows = whole_numbers(rng, 9, n_inputs)
    outputs = product(path, pack_matrix(weights, np.zeros(100, np.float32), "int8"), rows, n_inputs, n_outputs)
    np.testing.assert_array_equal(outputs, rows @ weights[:n_outputs, :n_inputs].T)


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_paths_agree_and_are_close(precision):
    rng = np.random.default_rng(6)
    weights, bias = rng.normal(size=(200, 100)).astype(np.float32), rng.normal(size=200).astype(np.float32)
    rows, smooth = rng.normal(size=(20, 100)).astype(np.float32), np.ones(100, np.float32)
    rows[:, 3], smooth[3] = 100 * rows[:, 3], 0.01
    packed = pack_matrix(weights, bias, precision, smooth if precision == "int8" else None)
    expected = rows @ weights.T + bias
    results = {path: product(path, packed, rows) for path in PATHS}
    for path, outputs in results.items():
        error = np.linalg.norm(outputs - expected) / np.linalg.norm(expected)
        assert error < {"int8": 0.03, "fp16": 1e-3, "fp32": 1e-6}[precision]
        np.testing.assert_allclose(outputs, results[PATHS[0]], rtol=1e-4, atol=1e-4)
        if path != PORTABLE:  # which rounds a product before it adds to it
            np.testing.assert_array_equal(outputs, results[PATHS[0]])


@pytest.mark.parametrize("path", PATHS)
def test_rows_of_one_repeated_value_are_exact(path):
    weights = np.ones((4, 8), np.float32)
    packed = pack_matrix(weights, np.full(4, 2, np.float32), "int8")
    rows = np.repeat(np.array([[0], [3], [-3], [1e-30]], np.float32), 8, axis=1)
    np.testing.assert_allclose(product(path, packed, rows), [[2] * 4, [26] * 4, [-22] * 4, [2] * 4], rtol=1e-5)
    packed = pack_matrix(np.zeros((4, 8), np.float32), np.zeros(4, np.float32), "int8")
    np.testing.assert_array_equal(product(path, packed, rows), np.zeros((4, 4)))
