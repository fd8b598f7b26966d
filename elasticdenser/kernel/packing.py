"""Weights laid out for the kernel, in 8 bits or float32; every size uses a part of the same ones.

In 8 bits a weight is a whole number from -127 to 127 times a scale of its output channel. Channels of the input that
are far larger than others would leave few codes for the rest: they are made smaller, and their weights larger by as
much (SmoothQuant, Xiao et al. 2023), as `elasticdenser.kernel.smoothing` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.weights import LayerWeights

PRECISIONS = ("int8", "fp32")
"""How layers are computed. Exits are in float32, by weights of float16, as they are stored: what is rounded there shows
in the vector as it is (cosine .999 in 8 bits), and there are few of them."""

# Outputs that the kernel computes together, and inputs that one of its 8-bit instructions takes.
_COLUMNS, _STEP = 64, 4

# As many of such columns are laid out at once: their weights then stay in the processor's cache.
_BLOCKS = 4


def aligned(values: Any, dtype: DTypeLike, shape: Sequence[int] | None = None) -> Array:
    """Return a copy that starts on a cache line, with zeros around it up to `shape`."""
    values = np.asarray(values)
    copy = aligned_zeros(dtype, values.shape if shape is None else shape)
    copy[tuple(slice(size) for size in values.shape)] = values
    return copy


def aligned_zeros(dtype: DTypeLike, shape: Sequence[int]) -> Array:
    """Return zeros that start on a cache line."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(n_bytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + n_bytes].view(dtype).reshape(shape)


def padded(n: int, multiple: int) -> int:
    """Return the least multiple that is no less than `n`."""
    return -(-n // multiple) * multiple


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A matrix of weights and its bias, of which the first inputs and outputs can be used alone.

    Args:
        weights: int8, (outputs / 64, inputs / 4, 64, 4), or float32 or float16, (outputs / 64, inputs, 64); padded
            with zeros.
        scale: float32, (outputs,), padded to 64: of an output's weights; None for float weights.
        bias: float32, (outputs,), padded to 64.
        smooth: float32, (inputs,), padded to 16: what inputs are multiplied by before they are rounded.
        n_inputs: How many there are.
        n_outputs: How many there are.
    """

    weights: Array
    scale: Floats | None
    bias: Floats
    smooth: Floats | None
    n_inputs: int
    n_outputs: int

    @property
    def n_packed(self) -> int:
        """Inputs that the layout has room for."""
        return int(self.weights.shape[1]) * (1 if self.scale is None else _STEP)

    def sums(self, n_inputs: int) -> tuple[Array, Floats]:
        """Return what the kernel must know of the first inputs' weights, in 8 bits.

        Returns:
            The sums of an output's whole weights over the inputs rounded up to 4, int32, (outputs,); and over exactly
            these inputs, times the scale, float32, (outputs,).
        """
        n_steps = padded(n_inputs, _STEP) // _STEP
        # Whole steps first, which lie together.
        by_place = self.weights[:, :n_steps].reshape(len(self.weights), n_steps, -1).sum(axis=1, dtype=np.int32)
        steps = by_place.reshape(-1, _STEP).sum(axis=1, dtype=np.int32)
        surplus = self.weights[:, n_steps - 1, :, n_inputs - n_steps * _STEP + _STEP :]
        exact = steps - surplus.sum(axis=2, dtype=np.int32).reshape(-1)
        return aligned(steps, np.int32), aligned(exact * self.scale, np.float32)


def pack(weight: Floats, bias: Floats, precision: str, smooth: Floats | None = None) -> Packed:
    """Lay out weights.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,).
        precision: One of `PRECISIONS`, or `fp16`.
        smooth: (inputs,): what the kernel is to multiply inputs by; the weights are divided by it here.
    """
    n_outputs, n_inputs = weight.shape
    n_columns = padded(n_outputs, _COLUMNS)
    scale = None
    if precision == "int8":
        laid_out, scale = _packed_whole(weight, smooth)
    else:
        dtype = np.float16 if precision == "fp16" else np.float32
        if precision == "fp16" and np.abs(weight).max() > np.finfo(dtype).max:
            raise ModelError(
                f"got weights of up to {np.abs(weight).max():g} in an exit; expected no more than 65504, which float16 "
                "ends at: train again with a lower learning rate"
            )
        rows = aligned(weight, dtype, (n_columns, n_inputs))
        laid_out = aligned(rows.reshape(-1, _COLUMNS, n_inputs).swapaxes(1, 2), dtype)
    return Packed(
        weights=laid_out,
        scale=None if scale is None else aligned(scale, np.float32, (n_columns,)),
        bias=aligned(bias, np.float32, (n_columns,)),
        smooth=None if smooth is None else aligned(smooth, np.float32, (padded(n_inputs, 16),)),
        n_inputs=n_inputs,
        n_outputs=n_outputs,
    )


def _packed_whole(weight: Floats, smooth: Floats | None) -> tuple[Array, Floats]:
    """Return weights in 8 bits as `Packed` has them, and the scales of their outputs."""
    n_outputs, n_inputs = weight.shape
    n_blocks, n_steps = padded(n_outputs, _COLUMNS) // _COLUMNS, padded(n_inputs, _STEP) // _STEP
    # What a step takes is moved as one number.
    laid_out = aligned_zeros(np.int32, (n_blocks, n_steps, _COLUMNS))
    scale = np.ones(n_outputs, np.float32)
    for first in range(0, n_blocks, _BLOCKS):
        part = slice(first * _COLUMNS, (first + _BLOCKS) * _COLUMNS)
        rows = weight[part] if smooth is None else weight[part] / smooth
        largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
        np.divide(largest, np.float32(127), out=scale[part], where=largest > 0)
        whole = np.zeros((padded(len(rows), _COLUMNS), n_steps * _STEP), np.int8)
        whole[: len(rows), :n_inputs] = np.rint(rows / scale[part, None])
        laid_out[first : first + _BLOCKS] = whole.view(np.int32).reshape(-1, _COLUMNS, n_steps).swapaxes(1, 2)
    return laid_out.view(np.int8).reshape(*laid_out.shape, _STEP), scale


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    """One layer, laid out; `norms` as in `LayerWeights`, padded to 16."""

    qkv: Packed
    out: Packed
    up: Packed
    down: Packed
    norms: Floats


def products_of(layer: LayerWeights) -> dict[str, tuple[Floats, Floats]]:
    """Return the weights, (outputs, inputs), and the biases of a layer's products."""
    head_dim, hidden = layer.qkv.shape[2:]
    # The scores are divided by the root of head_dim: here, once and for all.
    shares = np.array([head_dim**-0.5, 1, 1], np.float32)[:, None]
    return {
        "qkv": ((layer.qkv * shares[..., None]).reshape(-1, hidden), (layer.qkv_bias * shares).reshape(-1)),
        "out": (layer.out, layer.out_bias),
        "up": (layer.up, layer.up_bias),
        "down": (layer.down, layer.down_bias),
    }


def pack_layer(layer: LayerWeights, precision: str) -> PackedLayer:
    """Lay out a layer."""
    packed = {name: pack(*product, precision) for name, product in products_of(layer).items()}
    return PackedLayer(**packed, norms=pack_norms(layer.norms))


def pack_norms(norms: Floats) -> Floats:
    """Lay out the layer norms of a layer."""
    return aligned(norms, np.float32, (*norms.shape[:3], padded(norms.shape[3], 16)))
