"""Protocols of a search structure, and of what proposes candidates."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol, Self

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index.efforts import Effort
from elasticdenser.progress import Progress


class CandidateSource(Protocol):
    """Source of likely hits, whose exact scores are computed afterwards from the stored vectors.

    The candidates of a query must not depend on the other queries of the call.
    """

    @property
    def max_candidates(self) -> int:
        """Number of passages that can be proposed at all."""

    def n_candidates(self, k: int) -> int:
        """Return how many candidates to request first in order to find `k` hits."""

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of passages, int64, (n_queries, n_candidates), -1 where there are no more.

        Args:
            queries: float32, (n_queries, dim).
            n_candidates: At most `max_candidates`.
        """


class SearchStructure(Protocol):
    """One form of search structure over the stored vectors: built once, saved as one file, searched at an effort.

    Attributes:
        suffix: Suffix of its file, such as `.faiss`; empty for a form that needs no file.
    """

    suffix: ClassVar[str]

    @classmethod
    def accepts(cls, factory: str) -> bool:
        """Tell whether `factory` spells a structure of this form."""

    @classmethod
    def check(cls, factory: str, dim: int, n_passages: int | None = None) -> None:
        """Raise a BuildError if such a structure cannot be built, before the passages are encoded.

        Args:
            factory: A spelling that `accepts` took.
            dim: Dimensions of a vector.
            n_passages: Number of vectors; None if it is not known yet.
        """

    @classmethod
    def build(cls, factory: str, vectors: Vectors, progress: Progress) -> Self:
        """Build the structure.

        Args:
            factory: A spelling that `accepts` took.
            vectors: float32, (n_passages, dim), memory-mapped.
            progress: Called with (step, vectors done, vectors in all).
        """

    @classmethod
    def read(cls, file: Path | None, vectors: Vectors) -> Self:
        """Read the structure that `write` wrote; raise an IndexFormatError if the file is not usable.

        Args:
            file: The file; None for a form without one.
            vectors: float32, (n_passages, dim), memory-mapped.
        """

    def write(self, file: Path) -> None:
        """Write the structure atomically; not called for a form without a file."""

    def efforts(self) -> list[Effort]:
        """Return the efforts worth measuring, in rising order."""

    def at(self, effort: Effort) -> CandidateSource:
        """Return the structure as it is searched at one effort; safe to use from several threads."""
