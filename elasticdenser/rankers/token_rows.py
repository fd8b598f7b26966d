"""Rows in which late interaction stores a passage: the vectors of its tokens, and behind them the passage's own.

The passage's own vector, which usually has more numbers than a row, takes several rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats, Scores, Vectors
from elasticdenser.encoders.token_encoder import Projector, normalised
from elasticdenser.kernel.maxsim import highest_cosines
from elasticdenser.models.activation_files import NAME_BYTES, Bytes, decode_rows, encode_rows
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.rankers.query_tokens import QueryTokens

STORED = "int8"
"""Form in which rows are stored and compared: whole numbers with a scale for each row."""

_BATCH_TOKENS = 8192
"""Tokens of passages that are encoded in one call."""

_NO_TOKEN = -1
"""Stands for a row that holds no token, among the token ids by which a passage is looked up."""


class PassageText:
    """Text of a passage, which is tokenised when its tokens are needed.

    Attributes:
        name: Hash of the text, by which its vectors are found without its tokens.

    Args:
        text: The text.
        tokenizer: The tokenizer.

    Raises:
        UnicodeEncodeError: It is no text of Unicode.
    """

    def __init__(self, text: str, tokenizer: SeparateTokenizer) -> None:
        self._text, self._tokenizer = text, tokenizer
        self._tokens: list[int] | None = None
        self.name = blake2b(text.encode(), digest_size=NAME_BYTES).digest()

    @property
    def tokens(self) -> list[int]:
        """Token ids with special tokens."""
        if self._tokens is None:
            (self._tokens,) = self._tokenizer.passages([self._text])
        return self._tokens

    @staticmethod
    def tokens_of(passages: Sequence[PassageText], tokenizer: SeparateTokenizer) -> list[list[int]]:
        """Return the token ids of passages, tokenised in one call."""
        tokens = tokenizer.passages([passage._text for passage in passages])
        for passage, own in zip(passages, tokens, strict=True):
            passage._tokens = own
        return tokens


class StoredPassages(NamedTuple):
    """Vectors of some passages.

    Args:
        rows: Stored rows of all passages end to end, uint8, (n_rows, row bytes).
        bounds: The first row of each passage's tokens, and the one behind the last, int64, (n_passages, 2).
        texts: Vectors of the passages, float32, (n_passages, vector_dim), L2-normalised.
    """

    rows: Bytes
    bounds: NDArray[np.int64]
    texts: Vectors


class PassageRows:
    """Rows of passages.

    Args:
        projector: Encodes passages.
        dim: Numbers of a token's vector, and so of a row.
        vector_dim: Numbers of a passage's vector.
    """

    def __init__(self, projector: Projector, dim: int, vector_dim: int) -> None:
        self._projector, self._dim, self._vector_dim = projector, dim, vector_dim
        self._n_behind = -(-vector_dim // dim)

    def key_of(self, passage: Sequence[int]) -> list[int]:
        """Return the token ids by which a passage is looked up, one for each of its rows."""
        return [*passage, *[_NO_TOKEN] * self._n_behind]

    def encode(self, passages: Sequence[Sequence[int]]) -> Floats:
        """Return the rows of passages, given by their token ids, end to end: float32, (n_rows, dim)."""
        encoded = [self._projector(batch) for batch in _batches(passages)]
        texts = np.concatenate([batch.texts for batch in encoded])
        padding = self._n_behind * self._dim - self._vector_dim
        behind = np.pad(texts, ((0, 0), (0, padding))).reshape(len(passages), self._n_behind, self._dim)
        tokens = np.split(np.concatenate([batch.tokens for batch in encoded]), np.cumsum(list(map(len, passages)))[:-1])
        return np.concatenate([part for pair in zip(tokens, behind, strict=True) for part in pair])

    def parted(self, rows: Sequence[Bytes]) -> StoredPassages:
        """Return the vectors in the stored rows of passages, each uint8, (n_rows, row bytes)."""
        ends = np.cumsum([len(own) for own in rows])
        bounds = np.empty((len(rows), 2), np.int64)
        bounds[0, 0], bounds[1:, 0], bounds[:, 1] = 0, ends[:-1], ends - self._n_behind
        texts = decode_rows(np.concatenate([own[-self._n_behind :] for own in rows]), STORED)
        texts = normalised(texts.reshape(len(rows), -1)[:, : self._vector_dim])
        return StoredPassages(np.concatenate(rows), bounds, texts)


def passage_scores(query: QueryTokens, passages: StoredPassages) -> Scores:
    """Return the scores of passages for a query.

    A score is the weighted mean, over the query's tokens, of the highest cosine to a token of the passage (MaxSim),
    plus `vector_weight` times the cosine of the texts' vectors.

    Args:
        query: The query.
        passages: The passages.

    Returns:
        float32, (n_passages,).
    """
    closest = closest_tokens(query, passages) * query.weights
    scores: Scores = closest.sum(axis=1) + np.float32(query.vector_weight) * text_cosines(query, passages)
    return scores


def text_cosines(query: QueryTokens, passages: StoredPassages) -> Scores:
    """Return the cosines of the texts' vectors, float32, (n_passages,)."""
    cosines: Scores = (passages.texts * query.text).sum(axis=1)
    return cosines


def closest_tokens(query: QueryTokens, passages: StoredPassages) -> Floats:
    """Return the highest cosine of each token of a query to one of each passage, float32, (n_passages, n_tokens)."""
    codes = encode_rows(query.vectors, STORED)[:, : query.vectors.shape[1]].view(np.int8).astype(np.float32)
    return highest_cosines(passages.rows, codes.shape[1], passages.bounds, codes)


def _batches(passages: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """Yield passages in parts of some thousand tokens."""
    batch: list[Sequence[int]] = []
    n_tokens = 0
    for passage in passages:
        if batch and n_tokens + len(passage) > _BATCH_TOKENS:
            yield batch
            batch, n_tokens = [], 0
        batch.append(passage)
        n_tokens += len(passage)
    yield batch
