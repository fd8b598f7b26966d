"""The encoder in numpy, float32: what runs where the kernel is not built, and what calibration looks into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import sqrt

import numpy as np

from elasticdenser.runtime.tensors import Floats
from elasticdenser.runtime.weights import LayerWeights, Transformer

Watch = Callable[[int, str, Floats], Floats]
"""Is given the number of a layer, the name of a product and its input; returns the input to use."""


def hidden_states(
    body: Transformer,
    layers: Sequence[tuple[int, LayerWeights]],
    sequences: Sequence[Sequence[int]],
    *,
    width: float = 1.0,
    norms: int = 0,
    watch: Watch = lambda _layer, _product, given: given,
) -> list[Floats]:
    """Return the hidden states of the tokens of each sequence.

    Args:
        body: The transformer.
        layers: Numbers and weights of the layers to go through.
        sequences: Token ids.
        width: Share of the heads and neurons that are used.
        norms: Which layer norms.
        watch: Sees the input of every product.

    Returns:
        float32, (length, hidden), each.
    """
    starts = np.cumsum([0, *map(len, sequences)])
    spans = [slice(start, end) for start, end in pairwise(starts.tolist())]
    state = np.concatenate([body.tokens[list(ids)] + body.positions[: len(ids)] for ids in sequences])
    state = _normed(state.astype(np.float32), body.norm[norms], body.eps)
    n_heads, n_neurons = round(body.n_heads * width), round(body.n_neurons * width)
    for number, layer in layers:
        joined = n_heads * body.head_dim
        weight = layer.qkv[:n_heads].reshape(3 * joined, -1)
        qkv = watch(number, "qkv", state) @ weight.T + layer.qkv_bias[:n_heads].reshape(-1)
        qkv = qkv.reshape(len(state), n_heads, 3, body.head_dim)
        context = np.concatenate([_attended(qkv[span]) for span in spans])
        mixed = watch(number, "out", context) @ layer.out[:, :joined].T + layer.out_bias
        state = _normed(state + mixed, layer.norms[norms, 0], body.eps)
        up = watch(number, "up", state) @ layer.up[:n_neurons].T + layer.up_bias[:n_neurons]
        neurons = watch(number, "down", ACTIVATIONS[body.activation](up))
        state = _normed(
            state + neurons @ layer.down[:, :n_neurons].T + layer.down_bias, layer.norms[norms, 1], body.eps
        )
    return [state[span] for span in spans]


def _attended(qkv: Floats) -> Floats:
    """Return softmax(Q K^T / sqrt(d)) V of one text: (length, n_heads * head_dim) of (length, n_heads, 3, head_dim)."""
    query, key, value = qkv.transpose(2, 1, 0, 3)
    scores = query @ key.swapaxes(1, 2) * np.float32(1 / sqrt(qkv.shape[-1]))
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


@cache
def _shares() -> tuple[Floats, Floats]:
    """Return a table of the normal distribution function: numpy has no erf."""
    from math import erf

    points = np.linspace(-6, 6, 12 * 512 + 1)
    return points.astype(np.float32), np.array([0.5 + 0.5 * erf(x / sqrt(2)) for x in points], np.float32)


def _normal_share(x: Floats) -> Floats:
    return np.interp(x, *_shares()).astype(np.float32)  # within 1e-6


def _gelu_tanh(x: Floats) -> Floats:
    inner = np.float32(sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    gelu: Floats = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gelu


def _relu(x: Floats) -> Floats:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu}
