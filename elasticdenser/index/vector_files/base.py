"""Protocol of a file of vectors that another tool wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from elasticdenser.arrays import Vectors


class VectorFile(Protocol):
    """File of vectors, in the order of their ids.

    Attributes:
        path: The file.
        n_vectors: Number of vectors.
        dim: Dimensions of a vector.
        is_lossy: Whether the file compresses its vectors with loss.
        metric: `inner product` or `distance`: how the other tool compares the vectors; None if the file does not say.
    """

    path: Path
    n_vectors: int
    dim: int
    is_lossy: bool
    metric: str | None

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Return whether a file is of this form, by its name or first bytes."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; raise a BadInputError if it cannot be used."""

    def vectors(self, start: int, n_vectors: int) -> Vectors:
        """Return some of the vectors, float32, (n_vectors, dim)."""
