"""Float arithmetic of a transformer layer in numpy, around its matrix products.

Only the calibration of 8-bit weights (`elasticdenser.kernel.smoothing`) needs it: it sends a few tokens through the
layers, with the kernel computing the products. Vectors of texts are never computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import erf, pi, sqrt

import numpy as np

from elasticdenser.arrays import Floats
from elasticdenser.kernel.weights import Transformer

Product = Callable[[str, Floats], Floats]
"""Multiplies inputs, (n_tokens, n_inputs), by the weights of `qkv`, `out`, `up` or `down`, and adds their bias."""


def embed(body: Transformer, sequences: Sequence[Sequence[int]], norms: int = 0) -> tuple[Floats, list[slice]]:
    """Return the input of the first layer, float32, (n_tokens, hidden), and the rows of each sequence in it."""
    starts = np.cumsum([0, *map(len, sequences)])
    spans = [slice(start, end) for start, end in pairwise(starts.tolist())]
    state = np.concatenate([body.tokens[list(ids)] + body.positions[: len(ids)] for ids in sequences])
    return _normed(state.astype(np.float32), body.norm[norms], body.eps), spans


def through_layer(body: Transformer, norms: Floats, state: Floats, spans: Sequence[slice], product: Product) -> Floats:
    """Return the hidden states after a layer.

    Args:
        body: The transformer.
        norms: Layer norms: (after attention or after the neurons, weight or bias, hidden).
        state: Hidden states before the layer, (n_tokens, hidden).
        spans: Rows of each sequence.
        product: Products of the layer; that of `qkv` must have divided the queries by the root of `head_dim`.
    """
    qkv = product("qkv", state)
    qkv = qkv.reshape(len(state), -1, 3, body.head_dim)
    context = np.concatenate([_attended(qkv[span]) for span in spans])
    state = _normed(state + product("out", context), norms[0], body.eps)
    neurons = ACTIVATIONS[body.activation](product("up", state))
    return _normed(state + product("down", neurons), norms[1], body.eps)


def _attended(qkv: Floats) -> Floats:
    """Return softmax(Q K^T) V of one text: (length, n_heads * head_dim) of (length, n_heads, 3, head_dim)."""
    query, key, value = qkv.transpose(2, 1, 0, 3)
    scores = query @ key.swapaxes(1, 2)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    joined: Floats = (shares @ value).transpose(1, 0, 2).reshape(len(qkv), -1)
    return joined


def _normed(state: Floats, norm: Floats, eps: float) -> Floats:
    centred = state - state.mean(axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    normed: Floats = centred / np.sqrt(variance + np.float32(eps)) * norm[0] + norm[1]
    return normed


def _gelu(x: Floats) -> Floats:
    return x * _normal_distribution(x)


# Beyond 6 the normal distribution function is 0 or 1 within 1e-9; 512 points a unit bound the error of linear
# interpolation by 1e-6.
_LIMIT, _POINTS_PER_UNIT = 6, 512


@cache
def _distribution_table() -> Floats:
    """Return the normal distribution function from -6 to 6 as a table: numpy has no erf."""
    points = range(-_LIMIT * _POINTS_PER_UNIT, _LIMIT * _POINTS_PER_UNIT + 2)
    return np.array([0.5 + 0.5 * erf(point / _POINTS_PER_UNIT / sqrt(2)) for point in points], np.float32)


def _normal_distribution(x: Floats) -> Floats:
    table = _distribution_table()
    points = (np.clip(x, -_LIMIT, _LIMIT) + np.float32(_LIMIT)) * np.float32(_POINTS_PER_UNIT)
    below = points.astype(np.int32)
    share: Floats = table[below]
    return share + (points - below.astype(np.float32)) * (table[below + 1] - share)


def _gelu_tanh(x: Floats) -> Floats:
    inner = np.float32(sqrt(2 / pi)) * (x + np.float32(0.044715) * x * x * x)
    gelu: Floats = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gelu


def _relu(x: Floats) -> Floats:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu}
