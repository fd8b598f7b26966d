"""Registry of the forms of search structures, and the factory strings that spell them."""

from __future__ import annotations

from elasticdenser.errors import BuildError
from elasticdenser.index.structures.base import SearchStructure
from elasticdenser.index.structures.exhaustive import FlatStructure
from elasticdenser.index.structures.faiss_structure import FaissStructure

STRUCTURES: tuple[type[SearchStructure], ...] = (
    FlatStructure,
    FaissStructure,  # last: it accepts every spelling
)
"""The first that accepts a factory string builds and reads it."""

AUTO = "auto"
"""The spelling that chooses a structure by the number of passages."""

_JOINED_BY = " + "


def split_factory(factory: str) -> list[str]:
    """Return the factory strings of a structure's parts, which are joined by " + ".

    Raises:
        BuildError: It is no string.
    """
    if not isinstance(factory, str):
        raise BuildError(f"got the factory string {factory!r}, expected one such as HNSW32, or {AUTO}")
    return factory.split(_JOINED_BY)


def structure_class(factory: str) -> type[SearchStructure]:
    """Return the form of structure that a factory string spells."""
    return next(structure for structure in STRUCTURES if structure.accepts(factory))


def structure_suffixes() -> list[str]:
    """Return the suffixes of the files that structures write."""
    return [structure.suffix for structure in STRUCTURES if structure.suffix]


def check_factory(factory: str, dim: int, n_passages: int | None = None) -> None:
    """Refuse a structure that cannot be built, before the passages are encoded.

    Args:
        factory: One factory string, several joined by " + ", or `auto`.
        dim: Dimensions of a vector.
        n_passages: Number of passages; None if it is not known yet.

    Raises:
        BuildError: A factory string is not known, or there are too few passages for it.
    """
    if factory != AUTO:
        for part in split_factory(factory):
            structure_class(part).check(part, dim, n_passages)
