"""Packing of weights for the kernel, in 8 bits or float; every subnet uses a part of the same packed matrices.

In 8 bits a weight is a whole number from -127 to 127 times a scale of its output channel. Input channels that are far
larger than the others would leave few codes for the rest: their inputs are made smaller, and their weights larger by
the same factor (SmoothQuant, Xiao et al. 2023); `elasticdenser.kernel.smoothing` finds the factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.paths import packed_columns
from elasticdenser.kernel.weights import LayerWeights

DTYPES = {"int8": "int8", "fp32": "float32"}
"""Dtype of the arithmetic of the layers by its short name, a precision."""

PRECISIONS = tuple(DTYPES)
"""Arithmetic of the layers. Exits are always computed in float32 with
the weights in float16, as they are stored: a rounding error there changes the vector directly (cosine .999 in 8 bits),
and exits are small."""

# Inputs that one 8-bit instruction of the kernel multiplies.
_STEP = 4

# Columns that are packed at once: their weights then stay in the processor's cache.
_PACKED_AT_ONCE = 256


def precision_of(dtype: str) -> str:
    """Return the precision of a dtype of `DTYPES`."""
    return next(precision for precision, name in DTYPES.items() if name == dtype)


def aligned(values: Any, dtype: DTypeLike, shape: Sequence[int] | None = None) -> Array:
    """Return a copy that starts on a cache line, padded with zeros to `shape`."""
    values = np.asarray(values)
    copy = aligned_zeros(dtype, values.shape if shape is None else shape)
    copy[tuple(slice(length) for length in values.shape)] = values
    return copy


def aligned_zeros(dtype: DTypeLike, shape: Sequence[int]) -> Array:
    """Return zeros that start on a cache line."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.zeros(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def padded(n: int, multiple: int) -> int:
    """Return `n` rounded up to a multiple."""
    return -(-n // multiple) * multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMatrix:
    """Weights and bias of a matrix product; a narrower product uses its first inputs and outputs.

    Args:
        weights: int8, (n_outputs / n, n_inputs / 4, n, 4), or float32 or float16, (n_outputs / n, n_inputs, n), in
            blocks of n = `packed_columns()` outputs; padded with zeros.
        scale: float32, (n_outputs,), padded to n: the scale of each output's weights; None for float weights.
        bias: float32, (n_outputs,), padded to n.
        smooth: float32, (n_inputs,), padded to 16: factors of the inputs before they are rounded; None: 1.
        n_inputs: Number of inputs.
        n_outputs: Number of outputs.
    """

    weights: Array
    scale: Floats | None
    bias: Floats
    smooth: Floats | None
    n_inputs: int
    n_outputs: int

    @property
    def n_packed(self) -> int:
        """Number of inputs that the layout has space for."""
        return int(self.weights.shape[1]) * (1 if self.scale is None else _STEP)

    @property
    def n_columns(self) -> int:
        """Number of outputs of a block."""
        return int(self.weights.shape[2])

    def weight_sums(self, n_inputs: int) -> tuple[Array, Floats]:
        """Return the sums of the first inputs' weights that the kernel needs in 8 bits.

        Returns:
            int32, (n_outputs,): sums of the whole weights over the inputs, rounded up to 4; and float32, (n_outputs,):
            sums over exactly these inputs, times the scale.
        """
        n_steps = padded(n_inputs, _STEP) // _STEP
        # First over the steps, which lie together in memory.
        sums_by_lane = self.weights[:, :n_steps].reshape(len(self.weights), n_steps, -1).sum(axis=1, dtype=np.int32)
        steps = sums_by_lane.reshape(-1, _STEP).sum(axis=1, dtype=np.int32)
        surplus = self.weights[:, n_steps - 1, :, n_inputs - n_steps * _STEP + _STEP :]
        exact = steps - surplus.sum(axis=2, dtype=np.int32).reshape(-1)
        return aligned(steps, np.int32), aligned(exact * self.scale, np.float32)


def pack_matrix(weight: Floats, bias: Floats, precision: str, smooth: Floats | None = None) -> PackedMatrix:
    """Pack a matrix.

    Args:
        weight: float32, (n_outputs, n_inputs).
        bias: float32, (n_outputs,).
        precision: One of `PRECISIONS`, or `fp16`.
        smooth: float32, (n_inputs,): factors by which the kernel multiplies the inputs; the weights are divided by
            them here.

    Raises:
        ModelError: A weight is too large for float16.
    """
    n_outputs, n_inputs = weight.shape
    block = packed_columns()
    n_columns = padded(n_outputs, block)
    scale = None
    if precision == "int8":
        weights, scale = _pack_int8(weight, smooth, block)
    else:
        dtype = np.float16 if precision == "fp16" else np.float32
        if precision == "fp16" and np.abs(weight).max() > np.finfo(dtype).max:
            raise ModelError(
                f"got weights of up to {np.abs(weight).max():g} in an exit, expected at most 65504, the largest number "
                "of float16: train again with a lower learning rate"
            )
        rows = aligned(weight, dtype, (n_columns, n_inputs))
        weights = aligned(rows.reshape(-1, block, n_inputs).swapaxes(1, 2), dtype)
    return PackedMatrix(
        weights=weights,
        scale=None if scale is None else aligned(scale, np.float32, (n_columns,)),
        bias=aligned(bias, np.float32, (n_columns,)),
        smooth=None if smooth is None else aligned(smooth, np.float32, (padded(n_inputs, 16),)),
        n_inputs=n_inputs,
        n_outputs=n_outputs,
    )


def _pack_int8(weight: Floats, smooth: Floats | None, block: int) -> tuple[Array, Floats]:
    """Return the weights of a `PackedMatrix` in 8 bits, and the scales of its outputs."""
    n_outputs, n_inputs = weight.shape
    n_blocks, n_steps = padded(n_outputs, block) // block, padded(n_inputs, _STEP) // _STEP
    # The four codes of a step are moved as one number.
    packed = aligned_zeros(np.int32, (n_blocks, n_steps, block))
    scale = np.ones(n_outputs, np.float32)
    n_at_once = _PACKED_AT_ONCE // block
    for first in range(0, n_blocks, n_at_once):
        part = slice(first * block, (first + n_at_once) * block)
        rows = weight[part] if smooth is None else weight[part] / smooth
        largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
        np.divide(largest, np.float32(127), out=scale[part], where=largest > 0)
        codes = np.zeros((padded(len(rows), block), n_steps * _STEP), np.int8)
        codes[: len(rows), :n_inputs] = np.rint(rows / scale[part, None])
        packed[first : first + n_at_once] = codes.view(np.int32).reshape(-1, block, n_steps).swapaxes(1, 2)
    return packed.view(np.int8).reshape(*packed.shape, _STEP), scale


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    """One packed layer; `norms` as in `LayerWeights`, padded to 16; `distance_bias` as `pack_biases` returns it."""

    qkv: PackedMatrix
    out: PackedMatrix
    up: PackedMatrix
    down: PackedMatrix
    norms: Floats
    distance_bias: Floats | None


def products_of(layer: LayerWeights) -> dict[str, tuple[Floats, Floats]]:
    """Return weight, (n_outputs, n_inputs), and bias, (n_outputs,), of each of a layer's products by name."""
    head_dim, hidden = layer.qkv.shape[2:]
    # Attention scores are divided by the root of head_dim; dividing the weights of the queries instead costs no time.
    factors = np.array([head_dim**-0.5, 1, 1], np.float32)[:, None]
    return {
        "qkv": ((layer.qkv * factors[..., None]).reshape(-1, hidden), (layer.qkv_bias * factors).reshape(-1)),
        "out": (layer.out, layer.out_bias),
        "up": (layer.up, layer.up_bias),
        "down": (layer.down, layer.down_bias),
    }


def pack_layer(layer: LayerWeights, n_positions: int, precision: str) -> PackedLayer:
    """Pack a layer without smoothing."""
    packed = {name: pack_matrix(*product, precision) for name, product in products_of(layer).items()}
    return packed_layer(layer, n_positions, packed)


def packed_layer(layer: LayerWeights, n_positions: int, products: Mapping[str, PackedMatrix]) -> PackedLayer:
    """Return a layer of products that are packed already."""
    width = padded(layer.norms.shape[3], 16)
    return PackedLayer(
        **products,
        norms=aligned(layer.norms, np.float32, (*layer.norms.shape[:3], width)),
        distance_bias=None if layer.distance_bias is None else pack_biases(layer.distance_bias, n_positions),
    )


def pack_biases(distance_bias: Floats, n_positions: int) -> Floats:
    """Return attention biases of all distances of two of n positions, those beyond the largest repeated.

    Args:
        distance_bias: (n_heads, 2 * max_distance + 1), as in `LayerWeights`.
        n_positions: Number of positions.

    Returns:
        float32, (n_heads, 2 * n_positions - 1), with the rows padded as model.h says (`bias_pitch`).
    """
    max_distance = distance_bias.shape[1] // 2
    distance = np.arange(1 - n_positions, n_positions).clip(-max_distance, max_distance)
    pitch = padded(2 * n_positions + 14, 16)
    return aligned(distance_bias[:, distance + max_distance], np.float32, (len(distance_bias), pitch))
