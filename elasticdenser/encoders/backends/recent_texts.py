"""Texts that each thread encoded last, kept for late interaction, which needs the states of the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import NamedTuple

import numpy as np

from elasticdenser.arrays import Floats, Vectors
from elasticdenser.subnet import Subnet

TokenIds = Sequence[int]

_MAX_TOKENS = 4096
"""Most tokens whose states a thread keeps: 6 MB of 384 float32, more than a batch of queries has."""


class EncodedTexts(NamedTuple):
    """Result of a forward pass.

    Args:
        vectors: Vectors of the texts, float32, (n_texts, dim).
        states: States of their tokens after the last layer, end to end, float32, (n_tokens, hidden).
    """

    vectors: Vectors
    states: Floats


class RecentTexts(local):
    """Texts that the calling thread encoded last, by subnet and token ids.

    A search encodes its queries and reranks their hits in one thread, but through interfaces that hand on texts and
    know nothing of states. Looking texts up by their token ids needs no change of these interfaces, and cannot give a
    wrong result: the same weights read the same tokens. What is not found is computed.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[Subnet, tuple[int, ...]], tuple[Vectors, Floats]] = {}  # the oldest first
        self._n_tokens = 0

    def put(self, subnet: Subnet, sequences: Sequence[TokenIds], encoded: EncodedTexts) -> None:
        """Keep a result, in the place of the oldest ones.

        Args:
            subnet: The subnet that encoded the texts.
            sequences: Token ids of each text.
            encoded: The result.
        """
        start = 0
        vectors = encoded.vectors.copy()  # the caller may change those that it gets
        for sequence, vector in zip(sequences, vectors, strict=True):
            key = subnet, tuple(sequence)
            self._remove(key)
            self._texts[key] = vector, encoded.states[start : start + len(sequence)]
            start += len(sequence)
        self._n_tokens += start
        while self._n_tokens > _MAX_TOKENS:
            self._remove(next(iter(self._texts)))

    def get(self, subnet: Subnet, sequences: Sequence[TokenIds]) -> EncodedTexts | None:
        """Return the result of a forward pass over texts; None if one of them is not kept, or there are none.

        Args:
            subnet: The subnet that has to encode them.
            sequences: Token ids of each text.
        """
        found = [self._texts.get((subnet, tuple(sequence))) for sequence in sequences]
        texts = [text for text in found if text is not None]
        if not texts or len(texts) < len(sequences):
            return None
        vectors, states = zip(*texts, strict=True)
        return EncodedTexts(np.stack(vectors), np.concatenate(states))

    def _remove(self, key: tuple[Subnet, tuple[int, ...]]) -> None:
        if key in self._texts:
            del self._texts[key]
            self._n_tokens -= len(key[1])
