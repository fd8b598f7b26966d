"""The batch that each thread encoded last, kept for late interaction, which needs the states of the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import NamedTuple

import numpy as np

from elasticdenser.arrays import Floats, Vectors
from elasticdenser.subnet import Subnet

TokenIds = Sequence[int]


class EncodedTexts(NamedTuple):
    """Result of a forward pass.

    Args:
        vectors: Vectors of the texts, float32, (n_texts, dim).
        states: States of their tokens after the last layer, or at level 0 its vectors of the tokens, end to end,
            float32, (n_tokens, n).
    """

    vectors: Vectors
    states: Floats


class LastBatch(local):
    """The last batch of the calling thread, in which texts are found by their token ids.

    A search encodes its queries and reranks their hits in one thread, but through interfaces that hand on texts and
    know nothing of states. Looking texts up by their token ids needs no change of these interfaces, and cannot give a
    wrong result: the same weights read the same tokens. What is not found is computed. Nothing older is kept, so that
    the time of a search does not depend on the searches before it: profiles repeat their queries.
    """

    def __init__(self) -> None:
        self._subnet: Subnet | None = None
        self._texts: dict[tuple[int, ...], tuple[Vectors, Floats]] = {}

    def clear(self) -> None:
        """Forget the batch."""
        self._subnet, self._texts = None, {}

    def put(self, subnet: Subnet, sequences: Sequence[TokenIds], encoded: EncodedTexts) -> None:
        """Replace the batch by another one.

        Args:
            subnet: The subnet that encoded it.
            sequences: Token ids of each text.
            encoded: The result.
        """
        self._subnet, self._texts = subnet, {}
        start = 0
        vectors = encoded.vectors.copy()  # the caller may change those that it gets
        for sequence, vector in zip(sequences, vectors, strict=True):
            self._texts[tuple(sequence)] = vector, encoded.states[start : start + len(sequence)]
            start += len(sequence)

    def get(self, subnet: Subnet, sequences: Sequence[TokenIds]) -> EncodedTexts | None:
        """Return the result of a forward pass over texts; None if one of them was not in the batch.

        Args:
            subnet: The subnet that has to encode them.
            sequences: Token ids of each text.
        """
        found = [self._texts.get(tuple(sequence)) for sequence in sequences] if subnet == self._subnet else []
        texts = [text for text in found if text is not None]
        if not texts or len(texts) < len(sequences):
            return None
        vectors, states = zip(*texts, strict=True)
        return EncodedTexts(np.stack(vectors), np.concatenate(states))
