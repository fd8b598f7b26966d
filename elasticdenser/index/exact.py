"""The scan of all vectors, or of those a filter lets through."""

from __future__ import annotations

import faiss

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index.structures import exact_candidates

_FILTERED_AT_ONCE = 65_536


class Exhaustive:
    """Proposes the exactly nearest of some or all vectors.

    Args:
        vectors: float32, (n, dim), memory-mapped.
        allowed: int64, (n_allowed,): positions in rising order, each once; None is all of them.
    """

    def __init__(self, vectors: Vectors, allowed: Positions | None = None) -> None:
        self._vectors, self._allowed = vectors, allowed
        self.n_allowed = len(vectors) if allowed is None else len(allowed)

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return the positions of the highest inner products, int64, (n_queries, n_candidates).

        Args:
            queries: float32, (n_queries, dim).
            n_candidates: How many, at most `n_allowed`.
        """
        if self._allowed is None:
            return exact_candidates(queries, self._vectors, n_candidates)
        best = faiss.ResultHeap(len(queries), n_candidates, keep_max=True)
        for start in range(0, len(self._allowed), _FILTERED_AT_ONCE):
            chunk = self._allowed[start : start + _FILTERED_AT_ONCE]
            scores, at = faiss.knn(
                queries, self._vectors[chunk], min(n_candidates, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT
            )
            best.add_result(scores, chunk[at])
        best.finalize()
        return best.I  # type: ignore[no-any-return]
