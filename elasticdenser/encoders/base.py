"""Base class of the encoders of passages and queries. It does not import torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from elasticdenser.arrays import Vectors, l2_normalised
from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.encoders.tokenizing import TextTokenizer
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import EncoderFingerprint, EncoderSettings, full_dimensions
from elasticdenser.models.token_ids import TokenIdReader
from elasticdenser.models.tokenizer import load_encoder_tokenizer
from elasticdenser.subnet import Subnet

# On a CPU a batch is fastest if its activations fit into a core's second-level cache; a GPU wants large batches.
_MAX_BATCH_TOKENS = {"cpu": 1024, "cuda": 65536}


def max_batch_tokens(device_type: str) -> int:
    """Return the maximum number of tokens of a batch on a type of device, `cpu` or `cuda`."""
    return _MAX_BATCH_TOKENS.get(device_type, _MAX_BATCH_TOKENS["cuda"])


class BaseEncoder(ABC):
    """Encoder that tokenises texts and lets a backend compute their vectors; safe to use from several threads.

    Use its subclasses `PassageEncoder` and `ElasticQueryEncoder`.

    Args:
        location: Location of its files.
        settings: How texts become vectors.
        backend: Computes the vectors.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, location: ModelLocation, settings: EncoderSettings, backend: EncoderBackend) -> None:
        self.location, self.settings = location, settings
        self._backend = backend
        self._tokenizer = TextTokenizer(load_encoder_tokenizer(location.path, settings.max_length), settings.max_length)
        self._max_batch_tokens = max_batch_tokens(backend.device_type)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.location.name!r}: {self.dim} dimensions, {self.dtype}>"

    @abstractmethod
    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32, (n_texts, dim), L2-normalised if the encoder's settings say so."""

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Identity of the vector space, which an index must share to be searched with this encoder."""
        return EncoderFingerprint(
            name=self.location.name, weights_sha256=self.location.sha256, settings=self.settings, dtype=self.dtype
        )

    @property
    def dtype(self) -> str:
        """Arithmetic of the matrix products, such as `float32`."""
        return self._backend.dtype

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.settings.dim

    @cached_property
    def is_cut(self) -> bool:
        """Whether the settings keep only the first dimensions: this encoder bears it (Matryoshka)."""
        return self.dim < full_dimensions(self.location.path)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text after truncation, special tokens included, without a prompt."""
        return [len(token_ids) for token_ids in self._tokenize(texts, "")]

    def text_of_tokens(self, token_ids: Sequence[int]) -> str:
        """Return the text that the encoder's tokenizer turns into these ids, which include its special tokens.

        Raises:
            QueryError: The tokenizer does not produce these ids for any text.
        """
        return self._token_id_reader.text_of(token_ids)

    @property
    def marks_token_ids(self) -> bool:
        """Whether `text_of_tokens` tells ids of another tokenizer, by the special tokens that this one adds."""
        return self._token_id_reader.are_marked

    @cached_property
    def _token_id_reader(self) -> TokenIdReader:
        return TokenIdReader(load_encoder_tokenizer(self.location.path, self.settings.max_length))

    def token_ends(self, text: str) -> list[int]:
        """Return where the tokens of a text end, in characters, without special tokens and at most the maximum."""
        return self._tokenizer.token_ends(text)

    def shorten_query(self, text: str) -> str:
        """Return a query that has the same tokens, and is much shorter if the query is long."""
        return self._tokenizer.shorten(text, self.settings.query_prompt)

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        return [text.ids for text in self._tokenizer.tokenize(texts, prompt)]

    def _batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield positions in `sequences`, shortest sequences first, in batches of a bounded number of tokens."""
        batch: list[int] = []
        n_tokens = 0
        for position in sorted(range(len(sequences)), key=lambda position: len(sequences[position])):
            length = len(sequences[position])
            if batch and n_tokens + length > self._max_batch_tokens:
                yield batch
                batch, n_tokens = [], 0
            batch.append(position)
            n_tokens += length
        if batch:
            yield batch

    def cut(self, vectors: Vectors, dim: int) -> Vectors:
        """Return the first dimensions of vectors, normalised again if the encoder's settings say so.

        Args:
            vectors: float32, (n, at least dim).
            dim: Dimensions to keep, as for the setting `dim`: only encoders trained for it (Matryoshka) bear it.
        """
        if vectors.shape[1] == dim:
            return vectors
        kept = vectors[:, :dim]
        return l2_normalised(kept) if self.settings.normalize else kept

    def _compute_vectors(self, texts: Sequence[str], prompt: str, subnet: Subnet) -> Vectors:
        """Return float32, (n_texts, dim), computed in batches in the calling thread."""
        return self._forward(self._tokenize(texts, prompt), subnet)

    def _forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim), of token ids, computed in batches in the calling thread."""
        vectors = np.empty((len(sequences), self.dim), np.float32)
        for batch in self._batches(sequences):
            vectors[batch] = self.cut(
                self._backend.forward([sequences[position] for position in batch], subnet), self.dim
            )
        return vectors
