"""Encoders of tokens, for late interaction: a vector for each token of a text, and the vector of the whole text.

Encoders of the BERT type are computed by the kernel in C, others by transformers. It does not import torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from elasticdenser.arrays import Floats, Vectors
from elasticdenser.encoders.backends import OTHER_BACKENDS, check_encoder
from elasticdenser.encoders.backends.kernel import KernelBackend, can_run
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import ModelError
from elasticdenser.kernel.packed_encoder import multiply
from elasticdenser.kernel.packing import pack_matrix
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.manifest import is_student
from elasticdenser.models.poolings import OWN_POOLINGS
from elasticdenser.models.settings import INT8, EncoderSettings, read_settings
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder


class TokenVectors(NamedTuple):
    """Vectors of some texts.

    Args:
        tokens: Projected states of the tokens of all texts end to end, float32, (n_tokens, dim).
        texts: Vectors of the texts, as the encoder gives them for a search, float32, (n_texts, vector_dim),
            L2-normalised.
    """

    tokens: Floats
    texts: Vectors


Projector = Callable[[Sequence[Sequence[int]]], TokenVectors]
"""Returns the vectors of texts, given by their token ids with special tokens."""


class TokenEncoder(Protocol):
    """Encoder of tokens; safe to use from several threads.

    Attributes:
        location: Location of the encoder's files.
        full_subnet: The full encoder.
        subnets: All subnets, from large to small.
        dtype: Arithmetic of the matrix products.
        vector_dim: Numbers of a text's vector.
    """

    location: ModelLocation
    full_subnet: Subnet
    subnets: list[Subnet]
    dtype: str
    vector_dim: int

    def state_dim(self, subnet: Subnet) -> int:
        """Return the number of numbers of a state that a subnet gives a token."""

    def states(self, subnet: Subnet, sequences: Sequence[Sequence[int]]) -> Floats:
        """Return the states that a subnet's last layer gives the tokens of all texts end to end.

        Those of level 0, which has no layers, are its vectors of the tokens: each depends on its token alone.

        Args:
            subnet: One of `subnets`.
            sequences: Token ids with special tokens.

        Returns:
            float32, (n_tokens, `state_dim`).
        """

    def projector(self, subnet: Subnet, weight: Floats, bias: Floats) -> Projector:
        """Return the function that encodes texts at a subnet, with projected states of their tokens.

        Args:
            subnet: One of `subnets`.
            weight: Projection of the states, float32, (dim, `state_dim`).
            bias: Added to it, float32, (dim,).
        """


class KernelTokenEncoder:
    """Encoder of the BERT type, computed by the kernel; see `TokenEncoder`.

    The vectors of a text do not depend on the other texts, to the bit.

    Args:
        location: Location of the encoder's files.
        settings: How texts become vectors.
        backend: The encoder, which a query encoder may share. Queries that it encoded for a search in the same thread
            are then not computed a second time.
    """

    def __init__(self, location: ModelLocation, settings: EncoderSettings, backend: KernelBackend) -> None:
        self.location, self.dtype, self._pooling, self._backend = location, backend.dtype, settings.pooling, backend
        self.full_subnet, self.subnets = backend.full_subnet, backend.subnets
        self.vector_dim, _ = backend.dims_of(self.full_subnet)
        self._is_student = is_student(location.path)

    def state_dim(self, subnet: Subnet) -> int:
        """Return the number of numbers of a state; see `TokenEncoder`."""
        return self._backend.dims_of(subnet)[1]

    def states(self, subnet: Subnet, sequences: Sequence[Sequence[int]]) -> Floats:
        """Return the states of tokens; see `TokenEncoder`.

        Raises:
            QueryError: A text has no tokens or too many, or a token does not exist.
        """
        return self._backend.forward_tokens(sequences, subnet).states

    def projector(self, subnet: Subnet, weight: Floats, bias: Floats) -> Projector:
        """Return the function that encodes texts; see `TokenEncoder`."""
        projection = pack_matrix(weight, bias, "fp16")
        # A full encoder's vector is pooled here, with the rounding of all rows that are stored on disk already.
        is_pooled = subnet == self.full_subnet and not self._is_student
        self._backend.keep_states(subnet)

        def encode(sequences: Sequence[Sequence[int]]) -> TokenVectors:
            vectors, states = self._backend.forward_tokens(sequences, subnet)
            if is_pooled:
                vectors = self._pooled(states, list(map(len, sequences)))
            return TokenVectors(multiply(projection, states), normalised(vectors))

        return encode

    def _pooled(self, states: Floats, lengths: Sequence[int]) -> Floats:
        starts = np.cumsum([0, *lengths[:-1]])
        pooled: Floats = states[starts] if self._pooling == "cls" else np.add.reduceat(states, starts, axis=0)
        return pooled


def load_token_encoder(
    location: ModelLocation,
    *,
    dtype: str = "auto",
    device: str = "auto",
    query_encoder: ElasticQueryEncoder | None = None,
) -> TokenEncoder:
    """Load the encoder of tokens that computes a model.

    Args:
        location: Location of the encoder's files, as `find_model` returns it.
        dtype: Of the BERT type `int8`, which is `auto`, or `float32`; of others as for a passage encoder.
        device: Device of other encoders than those of the BERT type, which the kernel computes on the CPU.
        query_encoder: Encoder of queries, whose backend is shared if the same would be loaded again.

    Raises:
        ModelError: Nothing computes the tokens of this encoder here, or there is no such dtype or device.
        MissingExtraError: A package that computes the encoder is not installed.
    """
    settings = read_settings(location.path)
    if can_run(location, settings):
        device_type(device)  # refuses what is no device
        if dtype not in ("auto", INT8, "float32"):
            raise ModelError(f"got dtype {dtype!r} for late interaction with {location.name}, expected int8 or float32")
        dtype = INT8 if dtype == "auto" else dtype
        backend = None if query_encoder is None else query_encoder.backend_for(location, settings, dtype)
        if not isinstance(backend, KernelBackend):
            backend = KernelBackend.load(location, settings, dtype=dtype, device="cpu")
        return KernelTokenEncoder(location, settings, backend)
    if check_encoder(location, settings, dtype=dtype, device=device) != OTHER_BACKENDS["transformers"]:
        raise ModelError(
            f"nothing here computes the tokens of {location.name}, which late interaction needs: choose a transformer; "
            f"those of the BERT type ({' or '.join(OWN_POOLINGS)} pooling) need safetensors and a processor with AVX2 "
            "or ARM's dot-product instructions"
        )
    tokens = importlib.import_module("elasticdenser.encoders.backends.transformers_tokens")
    loaded: TokenEncoder = tokens.TransformersTokenEncoder.load(location, settings, dtype=dtype, device=device)
    return loaded


def normalised(vectors: Floats) -> Vectors:
    """Return vectors divided by their lengths; zeros stay zeros."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    result: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return result
