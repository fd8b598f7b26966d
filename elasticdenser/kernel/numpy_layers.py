"""The encoder in numpy, float32: what runs where there is no kernel, and what smooths the weights of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from math import sqrt

import numpy as np

from elasticdenser.arrays import Floats
from elasticdenser.kernel.weights import LayerWeights, Transformer

Product = Callable[[str, Floats], Floats]
"""Multiplies an input, (n_tokens, inputs), by the weights of `qkv`, `out`, `up` or `down`, and adds their bias."""


def hidden_states(
    body: Transformer,
    layers: Iterable[LayerWeights],
    sequences: Sequence[Sequence[int]],
    *,
    width: float = 1.0,
    norms: int = 0,
) -> list[Floats]:
    """Return the hidden states of the tokens of each sequence.

    Args:
        body: The transformer.
        layers: Weights of the layers to go through.
        sequences: Token ids.
        width: Share of the heads and neurons that are used.
        norms: Which layer norms.

    Returns:
        float32, (length, hidden), each.
    """
    state, spans = embedded(body, sequences, norms)
    for layer in layers:
        state = through_layer(body, layer.norms[norms], state, spans, _products(body, layer, width))
    return [state[span] for span in spans]


def embedded(body: Transformer, sequences: Sequence[Sequence[int]], norms: int = 0) -> tuple[Floats, list[slice]]:
    """Return what the first layer is given, float32, (n_tokens, hidden), and where in it each sequence stands."""
    starts = np.cumsum([0, *map(len, sequences)])
    spans = [slice(start, end) for start, end in pairwise(starts.tolist())]
    state = np.concatenate([body.tokens[list(ids)] + body.positions[: len(ids)] for ids in sequences])
    return _normed(state.astype(np.float32), body.norm[norms], body.eps), spans


def through_layer(body: Transformer, norms: Floats, state: Floats, spans: Sequence[slice], product: Product) -> Floats:
    """Return what a layer makes of the states of tokens.

    Args:
        body: The transformer.
        norms: Of the layer: (after attention or after the neurons, weight or bias, hidden).
        state: float32, (n_tokens, hidden).
        spans: Where each sequence stands.
        product: Of the layer; that of `qkv` has divided the queries by the root of `head_dim`.
    """
    qkv = product("qkv", state)
    qkv = qkv.reshape(len(state), -1, 3, body.head_dim)
    context = np.concatenate([_attended(qkv[span]) for span in spans])
    state = _normed(state + product("out", context), norms[0], body.eps)
    neurons = ACTIVATIONS[body.activation](product("up", state))
    return _normed(state + product("down", neurons), norms[1], body.eps)


def _products(body: Transformer, layer: LayerWeights, width: float) -> Product:
    """Return the products of a layer's first heads and neurons."""
    n_heads, n_neurons = round(body.n_heads * width), round(body.n_neurons * width)

    def product(name: str, given: Floats) -> Floats:
        if name == "qkv":
            weight = layer.qkv[:n_heads].reshape(3 * n_heads * body.head_dim, -1)
            qkv: Floats = given @ weight.T + layer.qkv_bias[:n_heads].reshape(-1)
            qkv.reshape(len(given), n_heads, 3, -1)[:, :, 0] *= np.float32(1 / sqrt(body.head_dim))
            return qkv
        if name == "up":
            return given @ layer.up[:n_neurons].T + layer.up_bias[:n_neurons]
        weight, bias = (layer.out, layer.out_bias) if name == "out" else (layer.down, layer.down_bias)
        return given @ weight[:, : given.shape[1]].T + bias

    return product


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
    return x * _normal_share(x)


_LIMIT, _A_UNIT = 6, 512


@cache
def _shares() -> Floats:
    """Return a table of the normal distribution function: numpy has no erf."""
    from math import erf

    points = range(-_LIMIT * _A_UNIT, _LIMIT * _A_UNIT + 2)
    return np.array([0.5 + 0.5 * erf(point / _A_UNIT / sqrt(2)) for point in points], np.float32)


def _normal_share(x: Floats) -> Floats:
    table = _shares()
    points = (np.clip(x, -_LIMIT, _LIMIT) + np.float32(_LIMIT)) * np.float32(_A_UNIT)
    below = points.astype(np.int32)
    share: Floats = table[below]
    return share + (points - below.astype(np.float32)) * (table[below + 1] - share)  # within 1e-6


def _gelu_tanh(x: Floats) -> Floats:
    inner = np.float32(sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    gelu: Floats = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gelu


def _relu(x: Floats) -> Floats:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu}
