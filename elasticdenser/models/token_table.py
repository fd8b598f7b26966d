"""Level 0 of the elastic encoder: no transformer, only the mean of token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor

from elasticdenser.errors import ModelError


class TokenTable:
    """Table of a vector for every token; safe to use from several threads.

    Args:
        vectors: float32, (n_tokens, dim); must not be changed afterwards.

    Raises:
        ModelError: The vectors have another shape or type.
    """

    def __init__(self, vectors: Tensor) -> None:
        if vectors.dim() != 2 or not len(vectors) or vectors.dtype != torch.float32:
            raise ModelError(
                f"got token vectors of {vectors.dtype} {tuple(vectors.shape)}, expected float32 of (n_tokens, dim)"
            )
        self._vectors = vectors.detach().cpu().contiguous()

    @property
    def vectors(self) -> Tensor:
        """The vectors, float32, (n_tokens, dim)."""
        return self._vectors

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._vectors.shape[1]

    @torch.inference_mode()
    def mean_vectors(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Return the mean of the token vectors of each sequence, which does not depend on the other sequences.

        Args:
            sequences: Token ids with special tokens, of any lengths.

        Returns:
            float32, (n_sequences, dim), not normalised; zeros for a sequence without tokens.
        """
        token_ids = torch.tensor(list(chain.from_iterable(sequences)), dtype=torch.int64)
        starts = torch.tensor([0, *accumulate(map(len, sequences))][:-1], dtype=torch.int64)
        # One pass without copies of the vectors; the vectors of each sequence are added up in the order of its tokens.
        return torch.embedding_bag(self._vectors, token_ids, starts, mode=_MEAN)[0]


_MEAN = 1
