"""Exhaustive search: scores all vectors, or those that a filter lets through."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import faiss

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index.efforts import Effort
from elasticdenser.progress import Progress

_FILTERED_AT_ONCE = 65_536
"""Filtered vectors that are copied at a time: 100 MB at 384 dimensions."""

_SPARE_CANDIDATES = 16
"""Beyond k: with some, the worst candidate is nearly always clearly worse than the last hit, and one scan suffices."""

_RESCORED = 128
"""Rescored candidates of the one effort; the scan is exact, so that any number finds all hits."""


class ExhaustiveSearch:
    """Search that scores all passages, or all that a filter lets through; a `CandidateSource`.

    Args:
        vectors: float32, (n_passages, dim), memory-mapped.
        allowed: int64, (n_allowed,): positions in rising order, each once; None allows all.
    """

    def __init__(self, vectors: Vectors, allowed: Positions | None = None) -> None:
        self._vectors, self._allowed = vectors, allowed
        self.max_candidates = len(vectors) if allowed is None else len(allowed)

    def n_candidates(self, k: int) -> int:
        """Return how many candidates to request first in order to find `k` hits."""
        return k + _SPARE_CANDIDATES

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return the positions of the highest inner products, int64, (n_queries, n_candidates).

        Args:
            queries: float32, (n_queries, dim).
            n_candidates: At most `max_candidates`.
        """
        if self._allowed is None:
            return _nearest(queries, self._vectors, n_candidates)
        best = faiss.ResultHeap(len(queries), n_candidates, keep_max=True)
        for start in range(0, len(self._allowed), _FILTERED_AT_ONCE):
            chunk = self._allowed[start : start + _FILTERED_AT_ONCE]
            scores, rows = faiss.knn(
                queries, self._vectors[chunk], min(n_candidates, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT
            )
            best.add_result(scores, chunk[rows])
        best.finalize()
        return best.I  # type: ignore[no-any-return]


class FlatStructure:
    """`Flat`, which has no structure: it scans the stored vectors themselves and needs no file; a `SearchStructure`.

    Args:
        vectors: float32, (n_passages, dim), memory-mapped.
    """

    suffix: ClassVar[str] = ""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    @classmethod
    def accepts(cls, factory: str) -> bool:
        """Tell whether `factory` is `Flat`."""
        return factory == "Flat"

    @classmethod
    def check(cls, factory: str, dim: int, n_passages: int | None = None) -> None:
        """Accept any number of passages."""

    @classmethod
    def build(cls, factory: str, vectors: Vectors, progress: Progress) -> Self:
        """Return the structure; there is nothing to build."""
        return cls(vectors)

    @classmethod
    def read(cls, file: Path | None, vectors: Vectors) -> Self:
        """Return the structure; there is nothing to read."""
        return cls(vectors)

    def write(self, file: Path) -> None:
        """Write nothing."""

    def efforts(self) -> list[Effort]:
        """Return the one effort of a scan."""
        return [Effort(rescored=_RESCORED)]

    def at(self, effort: Effort) -> FlatSearch:
        """Return the scan at an effort."""
        return FlatSearch(self._vectors, effort)


class FlatSearch:
    """Scan of all vectors that proposes as many candidates as an effort says; a `CandidateSource`.

    Args:
        vectors: float32, (n_passages, dim), memory-mapped.
        effort: The effort.
    """

    def __init__(self, vectors: Vectors, effort: Effort) -> None:
        self._vectors = vectors
        self.max_candidates, self.n_candidates = len(vectors), effort.n_candidates

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return the positions of the highest inner products, int64, (n_queries, n_candidates)."""
        return _nearest(queries, self._vectors, n_candidates)


def _nearest(queries: Vectors, vectors: Vectors, n_candidates: int) -> Positions:
    """Return the positions of the highest inner products, int64, (n_queries, n_candidates)."""
    _, positions = faiss.knn(queries, vectors, n_candidates, metric=faiss.METRIC_INNER_PRODUCT)
    return positions  # type: ignore[no-any-return]
