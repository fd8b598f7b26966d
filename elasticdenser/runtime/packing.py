"""Weights laid out for the kernel, in 8 bits or float32; every size uses a part of the same ones.

In 8 bits a weight is a whole number from -127 to 127 times a scale of its output channel. Channels of the input that
are far larger than others would leave few codes for the rest: they are made smaller, and their weights larger by as
much (SmoothQuant, Xiao et al. 2023), where `smoothing` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from elasticdenser.runtime.plain import hidden_states
from elasticdenser.runtime.tensors import Array, Floats
from elasticdenser.runtime.weights import LayerWeights, Transformer

PRECISIONS = ("int8", "fp32")
"""How layers are computed. Exits are in float32, by weights of float16, as they are stored: what is rounded there shows
in the vector as it is (cosine .999 in 8 bits), and there are few of them."""

# Outputs that the kernel computes together, and inputs that one of its 8-bit instructions takes.
_COLUMNS, _STEP = 64, 4


def aligned(values: Any, dtype: DTypeLike, shape: Sequence[int] | None = None) -> Array:
    """Return a copy that starts on a cache line, with zeros around it up to `shape`."""
    values = np.asarray(values)
    shape = values.shape if shape is None else tuple(shape)
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(n_bytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + n_bytes].view(dtype).reshape(shape)
    copy[tuple(slice(size) for size in values.shape)] = values
    return copy


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
        whole = self.weights.transpose(1, 3, 0, 2).reshape(self.n_packed, -1)
        steps = whole[: padded(n_inputs, _STEP)].sum(axis=0, dtype=np.int32)
        exact = whole[:n_inputs].sum(axis=0, dtype=np.int32)
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
        weight = weight if smooth is None else weight / smooth
        largest = np.abs(weight).max(axis=1)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
        whole = aligned(np.rint(weight / scale[:, None]), np.int8, (n_columns, padded(n_inputs, _STEP)))
        laid_out = aligned(whole.reshape(-1, _COLUMNS, whole.shape[1] // _STEP, _STEP).swapaxes(1, 2), np.int8)
    else:
        dtype = np.float16 if precision == "fp16" else np.float32
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    """One layer, laid out; `norms` as in `LayerWeights`, padded to 16."""

    qkv: Packed
    out: Packed
    up: Packed
    down: Packed
    norms: Floats


def pack_layer(layer: LayerWeights, precision: str, smooth: dict[str, Floats] | None = None) -> PackedLayer:
    """Lay out a layer; `smooth` has the factors of some products' inputs."""
    factors = smooth or {}
    head_dim, hidden = layer.qkv.shape[2:]
    # The scores are divided by the root of head_dim: here, once and for all.
    shares = np.array([head_dim**-0.5, 1, 1], np.float32)[:, None]
    qkv, qkv_bias = layer.qkv * shares[..., None], layer.qkv_bias * shares
    return PackedLayer(
        qkv=pack(qkv.reshape(-1, hidden), qkv_bias.reshape(-1), precision, factors.get("qkv")),
        out=pack(layer.out, layer.out_bias, precision),
        up=pack(layer.up, layer.up_bias, precision, factors.get("up")),
        down=pack(layer.down, layer.down_bias, precision),
        norms=aligned(layer.norms, np.float32, (*layer.norms.shape[:3], padded(hidden, 16))),
    )


# Enough to find the channels that are always large, which are so whatever the text: random tokens do as well as
# questions (mean cosine to float32 .9995 both), and no text need be at hand.
_N_TEXTS, _N_TOKENS = 8, 16


def smoothing(body: Transformer, layers: Sequence[LayerWeights]) -> list[dict[str, Floats]]:
    """Return factors for the inputs of the products behind layer norms, whose channels differ most, for each layer.

    A factor is the root of the largest weight of a channel by the largest input of it: both then use their codes
    equally well. The other two products gain nothing by it.
    """
    random = np.random.default_rng(0)
    length = min(_N_TOKENS, len(body.positions))
    texts = random.integers(0, len(body.tokens), (_N_TEXTS, length)).tolist()
    factors: list[dict[str, Floats]] = [{} for _ in layers]

    def watch(number: int, product: str, given: Floats) -> Floats:
        if product in ("qkv", "up"):
            weight: Floats = getattr(layers[number], product)
            largest = np.abs(weight.reshape(-1, weight.shape[-1])).max(axis=0)
            factor = np.sqrt(np.maximum(largest, 1e-5) / np.maximum(np.abs(given).max(axis=0), 1e-5))
            factors[number][product] = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
        return given

    hidden_states(body, list(enumerate(layers)), texts, watch=watch)
    return factors
