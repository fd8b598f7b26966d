"""Search structure of an index: one or several parts, and the efforts with which they can be searched."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.cpus import cpu_count
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.efforts import Effort, select_effort
from elasticdenser.index.manifest import StructureInfo
from elasticdenser.index.metadata.matches import Matches
from elasticdenser.index.structures.base import CandidateSource, SearchStructure
from elasticdenser.index.structures.faiss_structure import FaissStructure
from elasticdenser.index.structures.measuring import measure_efforts
from elasticdenser.index.structures.registry import AUTO, split_factory, structure_class
from elasticdenser.index.structures.threads import faiss_threads
from elasticdenser.progress import Progress, silent

_FLAT_UP_TO = 10_000
"""A scan of all vectors of so many passages takes about a millisecond a query (384 dimensions, one core)."""

_TRIED_K, _TRIED_QUERIES = 10, 4
"""Hits and queries of the searches that try a new structure."""

_SCANNED_UP_TO = 1_000_000
"""A scan of all 4-bit codes of so many passages takes about two milliseconds a query (384 dimensions, one core)."""

_MIN_SHARE_AS_ALL = 0.4
"""Share of the passages from which on their nearest ones are found in the same inverted lists as those of all. Of the
100 nearest of 190,000 clustered passages, these lists held 1 to 2 % fewer than of the 10 nearest, but of the 200
nearest 2 to 35 % fewer."""


def choose_factory(n_passages: int, dim: int) -> str:
    """Return the factory string that `auto` stands for.

    Few vectors are scanned as they are. More are scanned as codes of 4-bit product quantisation (André et al. 2015,
    "fast scan"), and the best are rescored exactly. Up to a million passages there are two parts: an inverted file
    with some lists to scan at low effort, and the codes of all passages to scan at high effort. Beyond, there is only
    an inverted file.
    """
    if n_passages <= _FLAT_UP_TO or dim % 2:
        return "Flat"
    if n_passages <= _SCANNED_UP_TO:
        codes = f"PQ{dim // 4 if dim % 4 == 0 else dim // 2}x4fs"
        return f"IVF{2 ** round(np.log2(np.sqrt(n_passages)))},{codes} + {codes}"
    return f"IVF{2 ** round(np.log2(4 * np.sqrt(n_passages)))},PQ{dim // 2}x4fs"


def train_parts(factory: str, vectors: Vectors, folder: Path) -> list[str]:
    """Write what the parts of a structure learn of a sample of vectors, and return the names of the files.

    Args:
        factory: One factory string, or several joined by " + ".
        vectors: float32, (n_vectors, dim): the sample.
        folder: Where to write; `IndexStructure.build` reads it.

    Raises:
        BuildError: A factory string is not known, or there are too few vectors for it.
    """
    with faiss_threads(cpu_count()):
        return [
            _codebook_file(number)
            for number, part in enumerate(split_factory(factory))
            if structure_class(part) is FaissStructure
            and FaissStructure.train(part, vectors, folder / _codebook_file(number))
        ]


def _codebook_file(number: int) -> str:
    """Return the name of the file of what a part of a structure was trained to."""
    return f"{number}{FaissStructure.suffix}"


def _build_part(factory: str, vectors: Vectors, progress: Progress, codebooks: Path | None) -> SearchStructure:
    """Build a part of a structure, with the codebooks in a file if there is one."""
    if codebooks is not None and codebooks.exists():
        return FaissStructure.build(factory, vectors, progress, codebooks)
    return structure_class(factory).build(factory, vectors, progress)


class IndexStructure:
    """Search structures over the stored vectors, and the efforts with which they can be searched.

    Args:
        parts: One structure for each factory string.
        info: Their factory strings, files and efforts.
    """

    def __init__(self, parts: Sequence[SearchStructure], info: StructureInfo) -> None:
        self._parts, self.info = parts, info
        self._sources = {effort: parts[effort.part].at(effort) for effort in info.efforts}
        # To make the parameters for FAISS takes a tenth of the time of a search.
        self._among: WeakKeyDictionary[Matches, CandidateSource] = WeakKeyDictionary()

    def try_all_efforts(self, vectors: Vectors) -> None:
        """Search with every effort.

        Args:
            vectors: float32, (n_passages, dim), the vectors of the index.

        Raises:
            IndexFormatError: The structure cannot be searched.
        """
        for source in self._sources.values():
            n_candidates = min(source.n_candidates(_TRIED_K), source.max_candidates)
            found = source.candidates(np.ascontiguousarray(vectors[:_TRIED_QUERIES]), n_candidates)
            if not (found >= 0).any():
                raise IndexFormatError(f"{self.info.factory!r} finds nothing")

    def source_for(self, recall: float | None = None, *, share: float = 1.0) -> CandidateSource:
        """Return the source of candidates with the least effort that reaches a recall@10; None is the greatest effort.

        Args:
            recall: Above 0, at most 1; None selects the greatest effort.
            share: Share of the passages that may be found. The fewer these are, the farther away are the nearest of
                them, and the more inverted lists have to be visited in order to find them.

        Raises:
            QueryError: The recall is out of range.
        """
        effort = self._effort_for(recall, share)
        return self._sources.get(effort) or self._parts[effort.part].at(effort)

    def source_among(self, matches: Matches) -> CandidateSource | None:
        """Return a source that proposes matching passages alone, out of all inverted lists; None if there are none.

        Args:
            matches: The passages, by their rows.
        """
        if matches not in self._among:
            listed = (part for part in self._parts if isinstance(part, FaissStructure) and part.n_lists)
            if (part := next(listed, None)) is None:
                return None
            effort = replace(self.info.efforts[-1], nprobe=part.n_lists, ef_search=None)
            self._among[matches] = part.at(effort, matches.bits)
        return self._among[matches]

    def visits_all(self, recall: float | None, share: float) -> bool:
        """Return whether `source_for` gives a source that visits all passages, instead of some lists or a graph."""
        effort = self._effort_for(recall, share)
        return effort.nprobe is None and effort.ef_search is None

    def _effort_for(self, recall: float | None, share: float) -> Effort:
        """Return the effort of `source_for`."""
        number = select_effort(self.info.efforts, recall)
        effort = self.info.efforts[number]
        if effort.nprobe is None or share >= _MIN_SHARE_AS_ALL:
            return effort
        nprobe = math.ceil(effort.nprobe * _MIN_SHARE_AS_ALL / share)
        for other in self.info.efforts[number:]:
            if other.nprobe is None or other.nprobe >= nprobe:
                return other
        if effort.part + 1 < len(self._parts):
            return replace(self._parts[-1].efforts()[-1], part=len(self._parts) - 1)
        return replace(effort, nprobe=nprobe)

    @classmethod
    def read(cls, folder: Path, info: StructureInfo, vectors: Vectors) -> IndexStructure:
        """Read the structure of the index in `folder`.

        Raises:
            IndexFormatError: A file cannot be read, or is of other vectors.
        """
        classes = [structure_class(factory) for factory in split_factory(info.factory)]
        if len(info.files) != sum(bool(structure.suffix) for structure in classes):
            raise IndexFormatError(
                f"{folder} has {len(info.files)} files for the structure {info.factory!r}, expected one for each part "
                f"that needs one: build it again with `elasticdenser rebuild {folder}`"
            )
        if max(effort.part for effort in info.efforts) >= len(classes):
            raise IndexFormatError(
                f"{folder} has efforts for other parts than those of the structure {info.factory!r}: build it again "
                f"with `elasticdenser rebuild {folder}`"
            )
        files = (folder / name for name in info.files)
        parts = [structure.read(next(files) if structure.suffix else None, vectors) for structure in classes]
        return cls(parts, info)

    @classmethod
    def build(
        cls, vectors: Vectors, factory: str, progress: Progress = silent, codebooks: Path | None = None
    ) -> IndexStructure:
        """Build the structure that `factory` spells, and measure efforts up to a recall@10 above 0.999.

        Args:
            vectors: float32, (n_passages, dim).
            factory: One factory string, several joined by " + ", or `auto`.
            progress: Called with (step, vectors done, vectors in all).
            codebooks: Folder that `train_parts` wrote; None trains the parts on these vectors.

        Raises:
            BuildError: A factory string is not known, or there are too few vectors for it.
        """
        factory = choose_factory(*vectors.shape) if factory == AUTO else factory
        with faiss_threads(cpu_count()):
            parts = [
                _build_part(part, vectors, progress, codebooks and codebooks / _codebook_file(number))
                for number, part in enumerate(split_factory(factory))
            ]
            efforts, n_sampled = measure_efforts(parts, vectors)
        return cls(parts, StructureInfo(factory=factory, efforts=efforts, n_sampled=n_sampled))

    def write(self, folder: Path, reserved: Collection[str] = ()) -> None:
        """Write the files of all parts into `folder`, each atomically.

        Args:
            folder: The index.
            reserved: File names that must not be used.
        """
        names = []
        for factory, part in zip(split_factory(self.info.factory), self._parts, strict=True):
            if part.suffix:
                name = re.sub(r"[^A-Za-z0-9]+", "-", factory).strip("-") + part.suffix
                while name in reserved or name in names:
                    name = f"again-{name}"
                names.append(name)
                part.write(folder / names[-1])
        self.info = replace(self.info, files=tuple(names))
