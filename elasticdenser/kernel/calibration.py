"""Transformer layers in numpy, except for their matrix products, which the caller computes.

They serve only to calibrate 8-bit weights (`elasticdenser.kernel.smoothing`), with the hidden states of a few tokens.
The vectors of texts are never computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import erf, pi, sqrt

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.kernel.weights import LayerWeights, Transformer

Product = Callable[[str, Array], Array]
"""Multiplies inputs, (n_tokens, n_inputs), by the weights of `qkv`, `out`, `up` or `down`, and adds their bias."""


def embed(body: Transformer, token_ids: Sequence[int]) -> Floats:
    """Return the input of the first layer for one text, float32, (n_tokens, hidden)."""
    embedded = body.tokens[list(token_ids)] + body.positions[: len(token_ids)]
    return _normed(embedded.astype(np.float32), body.norm[0], body.eps)


def apply_layer(body: Transformer, layer: LayerWeights, hidden: Array, product: Product) -> Array:
    """Return the hidden states of one text after a layer.

    Args:
        body: The transformer.
        layer: The layer, of which only norms and biases by distance are used.
        hidden: Hidden states before the layer, (n_tokens, hidden), float32 or float64.
        product: Products of the layer; that of `qkv` must have divided the queries by the root of `head_dim`.
    """
    norms = layer.norms[0]
    qkv = product("qkv", hidden).reshape(len(hidden), -1, 3, body.head_dim)
    hidden = _normed(hidden + product("out", _attended(qkv, layer.distance_bias)), norms[0], body.eps)
    neurons = ACTIVATIONS[body.activation](product("up", hidden))
    return _normed(hidden + product("down", neurons), norms[1], body.eps)


def _attended(qkv: Array, distance_bias: Floats | None) -> Array:
    """Return softmax(Q K^T + B) V, (n_tokens, n_heads * head_dim), of projections, (n_tokens, n_heads, 3, head_dim)."""
    query, key, value = qkv.transpose(2, 1, 0, 3)
    scores = query @ key.swapaxes(1, 2)
    if distance_bias is not None:
        max_distance = distance_bias.shape[1] // 2
        distance = np.arange(len(qkv)) - np.arange(len(qkv))[:, None]
        scores = scores + distance_bias[:, distance.clip(-max_distance, max_distance) + max_distance]
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    joined: Array = (shares @ value).transpose(1, 0, 2).reshape(len(qkv), -1)
    return joined


def _normed(hidden: Array, norm: Array, eps: float) -> Array:
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    normed: Array = centred / np.sqrt(variance + np.float32(eps)) * norm[0] + norm[1]
    return normed


def _gelu(x: Array) -> Array:
    return x * _normal_distribution(x)


# Beyond 6 the normal distribution function is 0 or 1 within 1e-9; 512 points per unit keep the error of linear
# interpolation below 1e-6.
_LIMIT, _POINTS_PER_UNIT = 6, 512


@cache
def _distribution_table() -> Floats:
    """Return the normal distribution function from -6 to 6 as a table, because numpy has no erf."""
    points = range(-_LIMIT * _POINTS_PER_UNIT, _LIMIT * _POINTS_PER_UNIT + 2)
    return np.array([0.5 + 0.5 * erf(point / _POINTS_PER_UNIT / sqrt(2)) for point in points], np.float32)


def _normal_distribution(x: Array) -> Array:
    table = _distribution_table()
    points = (np.clip(x, -_LIMIT, _LIMIT) + np.float32(_LIMIT)) * np.float32(_POINTS_PER_UNIT)
    below = points.astype(np.int32)
    left: Array = table[below]
    interpolated: Array = left + (points - below.astype(np.float32)) * (table[below + 1] - left)
    return interpolated


def _gelu_tanh(x: Array) -> Array:
    inner = np.float32(sqrt(2 / pi)) * (x + np.float32(0.044715) * x * x * x)
    gelu: Array = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gelu


def _relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu}
