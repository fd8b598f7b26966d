"""Backend of pQRNNs: hashed features of words, and QRNN layers over them, by NumPy alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

import numpy as np

from elasticdenser.arrays import Array, Floats, Vectors, l2_normalised
from elasticdenser.datasets.words import split_words
from elasticdenser.encoders.devices import device_type
from elasticdenser.kernel.tensors import Tensors
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.pqrnn_manifest import PQRNN_WEIGHTS, PQRNNManifest, read_pqrnn_manifest
from elasticdenser.models.projection import WordProjection
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import LEVEL_0, Subnet

_CACHED_WORDS = 8192
"""Words whose outputs of the bottleneck are kept: some MB, which spare most words of real queries the hashing."""


class _Linear(NamedTuple):
    """Linear layer: `x @ weight + bias`, with the weight of its file transposed."""

    weight: Floats
    bias: Floats

    def __call__(self, inputs: Floats) -> Floats:
        outputs: Floats = inputs @ self.weight + self.bias
        return outputs


class PQRNNBackend:
    """A pQRNN; see `EncoderBackend`, and `elasticdenser.models.pqrnn` for the model.

    Its only subnet is `level0`: like that of an elastic encoder it has no transformer. Its tokens are bytes.

    Args:
        manifest: Features and shape.
        weights: Its weights, which it does not change.
        settings: How texts become vectors.
    """

    dtype, device_type = "float32", "cpu"

    def __init__(self, manifest: PQRNNManifest, weights: Tensors, settings: EncoderSettings) -> None:
        def linear(name: str) -> _Linear:
            weight = np.ascontiguousarray(weights.floats(f"{name}.weight").T)
            return _Linear(weight, weights.floats(f"{name}.bias"))

        shape = manifest.shape
        self._kernel, self._hidden = shape.kernel, shape.hidden
        self._projection = WordProjection(manifest.projection)
        self._bottleneck, self._head = linear("trunk.bottleneck"), linear("head")
        self._layers = [
            (linear(f"trunk.layers.{number}.forwards"), linear(f"trunk.layers.{number}.backwards"))
            for number in range(shape.n_layers)
        ]
        self._attention = linear("trunk.attention") if shape.pooling == "attention" else None
        self._normalize = settings.normalize
        self._known_words: dict[str, Floats] = {}
        self.full_subnet, self.subnets = LEVEL_0, [LEVEL_0]

    @classmethod
    def load(
        cls,
        location: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = "auto",
        device: str = "auto",
        trained_subnets: bool = True,
    ) -> Self:
        """Load a pQRNN; see `load_backend`.

        Raises:
            ModelError: The files cannot be used.
        """
        device_type(device)  # it is computed on the CPU, whatever the device; this refuses names that make no sense
        manifest = read_pqrnn_manifest(location.path)
        weights = Tensors(location.path / PQRNN_WEIGHTS)
        for name, shape in manifest.tensor_shapes().items():
            weights.check(name, shape)
        return cls(manifest, weights, settings)

    def forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim); see `EncoderBackend`.

        Args:
            sequences: The bytes of each text in UTF-8; a character that is cut is left out.
            subnet: `level0`.
        """
        # A text without words has the state of an empty word.
        texts = [split_words(bytes(sequence).decode("utf-8", "ignore")) or [""] for sequence in sequences]
        lengths = np.array([len(words) for words in texts])
        present = (np.arange(lengths.max()) < lengths[:, None])[..., None]
        states = np.zeros((*present.shape[:2], len(self._bottleneck.bias)), np.float32)
        state_of = self._states_of_words({word for words in texts for word in words})
        for row, words in zip(states, texts, strict=True):
            for place, word in enumerate(words):
                row[place] = state_of[word]
        for forwards, backwards in self._layers:
            states = self._layer(states, present, forwards, backwards)
        vectors = self._head(self._pool(states, present))
        return l2_normalised(vectors) if self._normalize else vectors

    def one_thread_per_call(self) -> AbstractContextManager[None]:
        """Return an empty context: the products of matrices are too small for NumPy to share among threads."""
        return nullcontext()

    def forget_words(self) -> None:
        """Drop the cache of words."""
        self._known_words = {}

    def _states_of_words(self, words: Collection[str]) -> dict[str, Floats]:
        """Return the outputs of the bottleneck for words, from the cache where they are."""
        known = self._known_words  # never shrinks: once it is full, another takes its place
        states = {word: known[word] for word in words if word in known}
        # Hashed together, as most of the time is NumPy's overhead.
        if missing := sorted(set(words).difference(states)):
            computed = np.maximum(self._bottleneck(self._projection(missing).astype(np.float32)), 0)
            new = dict(zip(missing, computed, strict=True))
            states |= new
            if len(known) + len(new) > _CACHED_WORDS:
                self._known_words = known = {}
            known.update(new)
        return states

    def _layer(self, states: Floats, present: Array, forwards: _Linear, backwards: _Linear) -> Floats:
        """Return the states of a layer, (n, length, 2 * hidden), zeros at the padding."""
        # Backwards, the padding comes first. Its candidates are zeros, which leave the first state what it is: zeros.
        gates = np.stack([forwards(self._windows(states)), backwards(self._windows(states[:, ::-1]))])
        both_present = np.stack([present, present[:, ::-1]])
        candidate, forget, output = np.split(gates, 3, axis=-1)
        forget = _sigmoid(forget)
        added = (1 - forget) * np.tanh(candidate) * both_present
        cells = np.empty_like(added)
        cell = np.zeros_like(added[:, :, 0])
        for place in range(cells.shape[2]):
            cell = forget[:, :, place] * cell + added[:, :, place]
            cells[:, :, place] = cell
        left, right = cells * _sigmoid(output) * both_present
        return np.concatenate([left, right[:, ::-1]], axis=-1)

    def _windows(self, states: Floats) -> Floats:
        """Return each word's state behind those of the words before it, (n, length, kernel * n_inputs)."""
        length = states.shape[1]
        before = np.pad(states, ((0, 0), (self._kernel - 1, 0), (0, 0)))
        return np.concatenate([before[:, place : place + length] for place in range(self._kernel)], axis=-1)

    def _pool(self, states: Floats, present: Array) -> Floats:
        if self._attention is None:
            weights = present / present.sum(axis=1, keepdims=True, dtype=np.float32)
        else:
            scores = np.where(present, self._attention(states), -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights = weights / weights.sum(axis=1, keepdims=True)
        pooled: Floats = (weights * states).sum(axis=1)
        return pooled


def _sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), without overflow."""
    sigmoid: Floats = 0.5 * np.tanh(0.5 * values) + np.float32(0.5)
    return sigmoid
