"""Encoder of tokens for the models that only transformers computes, such as ModernBERT and Qwen3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch

from elasticdenser.arrays import Floats
from elasticdenser.encoders.backends.transformers import TransformersBackend
from elasticdenser.encoders.token_encoder import Projector, TokenVectors, normalised
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import Subnet


class TransformersTokenEncoder:
    """Encoder computed by transformers; see `TokenEncoder`.

    Its only subnet is the full encoder. The vectors of a text depend on the other texts of its batch as those of
    `TransformersBackend` do.

    Args:
        location: Location of the encoder's files.
        backend: The encoder.
    """

    def __init__(self, location: ModelLocation, backend: TransformersBackend) -> None:
        self.location, self._backend = location, backend
        self.full_subnet, self.subnets, self.dtype = backend.full_subnet, backend.subnets, backend.dtype
        tokens, vectors = backend.tokens_and_vectors([[0]])
        self._state_dim = int(tokens.shape[1])
        self.vector_dim = int(vectors.shape[1])

    @classmethod
    def load(cls, location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str) -> Self:
        """Load an encoder; see `load_token_encoder`."""
        return cls(location, TransformersBackend.load(location, settings, dtype=dtype, device=device))

    def state_dim(self, subnet: Subnet) -> int:
        """Return the number of numbers of a state; see `TokenEncoder`."""
        return self._state_dim

    def states(self, subnet: Subnet, sequences: Sequence[Sequence[int]]) -> Floats:
        """Return the states of tokens; see `TokenEncoder`."""
        return self._backend.tokens_and_vectors(sequences)[0]

    def projector(self, subnet: Subnet, weight: Floats, bias: Floats) -> Projector:
        """Return the function that encodes texts; see `TokenEncoder`."""
        projection = torch.from_numpy(weight), torch.from_numpy(bias)

        def encode(sequences: Sequence[Sequence[int]]) -> TokenVectors:
            with self._backend.one_thread_per_call():
                tokens, vectors = self._backend.tokens_and_vectors(sequences, projection)
            return TokenVectors(tokens, normalised(vectors))

        return encode
