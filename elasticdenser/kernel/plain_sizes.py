"""The sizes of an encoder in numpy, float32: correct wherever there is no kernel, but several times slower."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats
from elasticdenser.kernel.elastic_weights import ElasticWeights
from elasticdenser.kernel.numpy_layers import hidden_states
from elasticdenser.kernel.weights import LayerWeights, Transformer
from elasticdenser.subnet import LEVEL_0, Subnet


class PlainSize:
    """One size; safe to call from several threads.

    Args:
        body: The transformer whose layers are gone through; None for level 0.
        layers: Its layers.
        elastic: Where exit and level 0 come from; None for the full encoder.
        subnet: Which size.
    """

    def __init__(
        self,
        body: Transformer | None,
        layers: list[LayerWeights],
        elastic: ElasticWeights | None,
        subnet: Subnet,
    ) -> None:
        self._body, self._layers, self._elastic, self._subnet = body, layers, elastic, subnet
        self._exit = None if elastic is None or body is None else elastic.exit_of(subnet)

    def encode(self, ids: NDArray[np.int32], starts: NDArray[np.int64], pooling: str, normalize: bool) -> Floats:
        """Return a vector for each text; see `KernelSize.encode`."""
        texts = [ids[start:end].tolist() for start, end in pairwise(starts.tolist())]
        for number, text in enumerate(texts, 1):
            self._check(number, text)
        # One text at a time: a product of more rows may sum up in another order, and a vector would change with it.
        vectors = np.array([self._encode_one(text, pooling) for text in texts], np.float32)
        if normalize and texts:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors if texts else np.empty((0, self._dim), np.float32)

    @property
    def _dim(self) -> int:
        if self._elastic is not None:
            return self._elastic.shape.dim
        return self._body.hidden if self._body is not None else 0

    def _check(self, number: int, text: list[int]) -> None:
        body = self._body if self._body is not None else self._elastic.body if self._elastic is not None else None
        if not text:
            raise ValueError(f"text number {number} has no tokens; expected one at least")
        if body is None:
            return
        if self._body is not None and len(text) > len(body.positions):
            raise ValueError(f"text number {number} has {len(text)} tokens; expected {len(body.positions)} at most")
        strange = next((token for token in text if not 0 <= token < len(body.tokens)), None)
        if strange is not None:
            raise ValueError(f"text number {number} has the token {strange}; expected 0 to {len(body.tokens) - 1}")

    def _encode_one(self, text: list[int], pooling: str) -> Floats:
        given = []
        elastic = self._elastic
        if self._body is not None:
            width = 1.0 if elastic is None else self._subnet.width
            norms = 0 if elastic is None else elastic.shape.widths.index(width)
            (states,) = hidden_states(self._body, self._layers, [text], width=width, norms=norms)
            given.append(states[0] if pooling == "cls" else states.mean(axis=0))
        if elastic is not None and elastic.table is not None:
            rows, scales = elastic.table
            given.append((rows[text] * scales[text][:, None]).mean(axis=0))
        joined: Floats = np.concatenate(given)
        if self._exit is None:
            return joined
        weight, bias = self._exit
        vector: Floats = weight @ joined + bias
        return vector


class PlainSizes:
    """Makes the sizes of an encoder; not for several threads at once.

    Args:
        full: The full encoder.
        elastic: Its trained sizes, if there are any.
    """

    def __init__(self, full: Transformer, elastic: ElasticWeights | None) -> None:
        self._full, self._elastic = full, elastic
        self._layers: dict[int, LayerWeights] = {}

    def full_subnet(self) -> PlainSize:
        """Return the full encoder."""
        layers = [self._full.layer(number) for number in range(self._full.n_layers)]
        return PlainSize(self._full, layers, None, Subnet(1.0, self._full.n_layers))

    def trained_size(self, subnet: Subnet) -> PlainSize:
        """Return one of the trained sizes, or level 0."""
        elastic = self._elastic
        if elastic is None:
            raise KeyError(subnet)
        if subnet == LEVEL_0:
            return PlainSize(None, [], elastic, subnet)
        numbers = elastic.layers_of(subnet.depth)
        for number in numbers:
            if number not in self._layers:
                self._layers[number] = elastic.body.layer(number)
        return PlainSize(elastic.body, [self._layers[number] for number in numbers], elastic, subnet)
