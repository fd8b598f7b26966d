"""FAISS indexes as search structures, spelled by the factory strings of FAISS; see `faiss_factory` for the strings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.artifacts import atomic_write
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.efforts import Effort
from elasticdenser.index.structures.faiss_factory import check_faiss_factory, empty_index, faiss_reason
from elasticdenser.progress import Progress, silent

MAX_TRAINING_VECTORS = 65_536
"""FAISS asks for 39 vectors a centroid: enough for the 1,024 lists that a million passages get."""

_ADDED_AT_ONCE = 16_384
"""Vectors that are copied into memory at a time: 25 MB at 384 dimensions."""

_SCAN_LIST_BY_LIST = 11
"""Value of FAISS's `implem` for fast scans that search query by query, list by list, with a reservoir of candidates: a
tenth faster than FAISS's own choice, for single queries and for batches."""

_MIN_RESCORED = 128
"""Minimum number of rescored candidates for k = 10 with product quantisation in 4 bits, which ranks roughly."""


_REBUILD = "run `elasticdenser rebuild` on the index"

_WITH_LISTS = faiss.IndexIVF | faiss.IndexIVFFastScan

_SELECTING = (faiss.IndexIVFPQFastScan, faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)
"""Inverted files that pass over passages that are not selected as fast as they scan; subclasses may not."""


class FaissStructure:
    """FAISS index over the stored vectors; a `SearchStructure`.

    Args:
        index: The FAISS index, trained and filled.
    """

    suffix: ClassVar[str] = ".faiss"

    def __init__(self, index: Any) -> None:
        if isinstance(index, faiss.IndexIVFFastScan):
            index.implem = _SCAN_LIST_BY_LIST
        self._index = index

    @classmethod
    def accepts(cls, factory: str) -> bool:
        """Accept every spelling: FAISS knows which factory strings exist, and `check` asks FAISS."""
        return True

    @classmethod
    def check(cls, factory: str, dim: int, n_passages: int | None = None) -> None:
        """Refuse a factory string that FAISS does not know, or cannot train on so few passages.

        Raises:
            BuildError: FAISS does not know it, or there are too few passages.
        """
        check_faiss_factory(factory, dim, n_passages)

    @classmethod
    def build(cls, factory: str, vectors: Vectors, progress: Progress, codebooks: Path | None = None) -> Self:
        """Train a FAISS index on a sample of the vectors, unless it was trained on others, and add them all.

        Raises:
            BuildError: FAISS does not know the factory string, or cannot train it on so few vectors.
        """
        return cls(filled_index(factory, vectors, progress, codebooks))

    @classmethod
    def train(cls, factory: str, vectors: Vectors, file: Path) -> bool:
        """Write a trained FAISS index without vectors; return False for those that need no training.

        Raises:
            BuildError: FAISS does not know the factory string, or cannot train it on so few vectors.
        """
        index = empty_index(factory, vectors.shape[1])
        if index.is_trained:
            return False
        with _explained_failure(factory, len(vectors)):
            _train(index, vectors)
        write_index(index, file)
        return True

    @classmethod
    def read(cls, file: Path | None, vectors: Vectors) -> Self:
        """Read a FAISS file.

        Raises:
            IndexFormatError: FAISS cannot read it, or it holds other vectors.
        """
        if file is None:
            raise IndexFormatError("the manifest names no FAISS file: run `elasticdenser rebuild` on the index")
        way_out = f"build it again with `elasticdenser rebuild {file.parent}`"
        try:
            index = faiss.read_index(str(file))
        except (RuntimeError, MemoryError) as error:
            raise IndexFormatError(f"FAISS cannot read {file} ({faiss_reason(error)}): {way_out}") from None
        if not isinstance(index, faiss.Index) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            kind = type(index).__name__
            raise IndexFormatError(f"{file} holds a {kind} that is not searched by inner product: {way_out}")
        if (index.ntotal, index.d) != vectors.shape:
            expected = f"expected {vectors.shape[0]} x {vectors.shape[1]}"
            raise IndexFormatError(f"{file} holds {index.ntotal} x {index.d} vectors, {expected}: {way_out}")
        return cls(index)

    def write(self, file: Path) -> None:
        """Write the FAISS file atomically."""
        write_index(self._index, file)

    def efforts(self) -> list[Effort]:
        """Return the efforts worth measuring; more candidates are rescored where more lists are searched."""
        index = _searched_index(self._index)
        if isinstance(index, _WITH_LISTS):
            probes = sorted({max(1, index.nlist >> halvings) for halvings in range(1, 9)})
            efforts = [
                Effort(nprobe=probe, rescored=_MIN_RESCORED if 16 * probe <= index.nlist else 2 * _MIN_RESCORED)
                for probe in probes
            ]
            return [*efforts, *(Effort(nprobe=index.nlist, rescored=rescored) for rescored in (512, 1024))]
        if isinstance(index, faiss.IndexHNSW):
            return [Effort(ef_search=breadth, rescored=32) for breadth in (16, 32, 64, 128, 256, 512)]
        return [Effort(rescored=rescored) for rescored in (16, 32, 64, 128, 256, 384, 512, 768, 1024)]

    @property
    def n_lists(self) -> int:
        """Number of inverted lists, in which passages can be selected; 0 for other structures."""
        index = _searched_index(self._index)
        return int(index.nlist) if type(index) in _SELECTING else 0

    def at(self, effort: Effort, selected: NDArray[np.uint8] | None = None) -> FaissSearch:
        """Return the FAISS index as it is searched at one effort.

        Args:
            effort: The effort.
            selected: Bits of the passages that may be proposed, as in `Matches`; for structures with `n_lists`.

        Raises:
            IndexFormatError: The effort is one of another kind of index.
        """
        index = _searched_index(self._index)
        has_lists, has_graph = isinstance(index, _WITH_LISTS), isinstance(index, faiss.IndexHNSW)
        if (effort.nprobe is not None and not has_lists) or (effort.ef_search is not None and not has_graph):
            raise IndexFormatError(
                f"a search with {effort} does not fit a FAISS {type(index).__name__}: run `elasticdenser rebuild` on "
                "the index"
            )
        return FaissSearch(self._index, effort, selected)


class FaissSearch:
    """FAISS index searched at one effort; a `CandidateSource`.

    Args:
        index: The FAISS index.
        effort: The effort.
        selected: Bits of the passages that may be proposed; None is all.
    """

    def __init__(self, index: Any, effort: Effort, selected: NDArray[np.uint8] | None = None) -> None:
        selector = None if selected is None else faiss.IDSelectorBitmap(selected)  # type: ignore[call-arg, arg-type]
        self._index, self._parameters = index, _search_parameters(index, effort, selector)
        self.max_candidates, self.n_candidates = index.ntotal, effort.n_candidates

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of likely hits, int64, (n_queries, n_candidates), -1 where FAISS reaches no more.

        Raises:
            IndexFormatError: The FAISS index is damaged.
        """
        try:
            positions = self._index.search(queries, n_candidates, params=self._parameters)[1]
        except (RuntimeError, MemoryError) as error:
            raise IndexFormatError(f"FAISS cannot search its index ({faiss_reason(error)}): {_REBUILD}") from None
        # Vectors at other positions would be read from beyond the memory of the index.
        if positions.size and not -1 <= positions.min() <= positions.max() < self.max_candidates:
            raise IndexFormatError(f"FAISS returned positions beyond {self.max_candidates - 1:,}: {_REBUILD}")
        return positions  # type: ignore[no-any-return]


def filled_index(factory: str, vectors: Vectors, progress: Progress = silent, codebooks: Path | None = None) -> Any:
    """Return a FAISS index that holds all vectors, trained on a sample of them.

    Args:
        factory: FAISS factory string.
        vectors: float32, (n_passages, dim).
        progress: Called with (step, vectors done, vectors in all).
        codebooks: File of such an index that was trained on other vectors, and holds none.

    Raises:
        BuildError: FAISS does not know the factory string, or cannot train it on so few vectors.
    """
    n_vectors = len(vectors)
    with _explained_failure(factory, n_vectors):
        index = empty_index(factory, vectors.shape[1]) if codebooks is None else faiss.read_index(str(codebooks))
        if not index.is_trained:
            progress("training", 0, 1)
            _train(index, vectors)
            progress("training", 1, 1)
        for start in range(0, n_vectors, _ADDED_AT_ONCE):
            index.add(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE]))
            progress("adding", min(start + _ADDED_AT_ONCE, n_vectors), n_vectors)
    return index


def _train(index: Any, vectors: Vectors) -> None:
    """Train a FAISS index on a sample of vectors, the same in every call."""
    n_training = min(MAX_TRAINING_VECTORS, len(vectors))
    chosen = np.random.default_rng(0).choice(len(vectors), size=n_training, replace=False)
    index.train(np.ascontiguousarray(vectors[np.sort(chosen)]))


@contextmanager
def _explained_failure(factory: str, n_vectors: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise BuildError(
            f"FAISS cannot build {factory!r} from {n_vectors} vectors ({faiss_reason(error)}): use --factory auto"
        ) from None


def write_index(index: Any, file: Path) -> None:
    """Write a FAISS index atomically."""
    with atomic_write(file, "wb") as output:
        faiss.write_index(index, faiss.PyCallbackIOWriter(output.write))  # type: ignore[attr-defined]


def _search_parameters(index: Any, effort: Effort, selector: Any | None = None) -> Any | None:
    """Return the `params` of FAISS's `search` for an effort; None if the index has no such parameters."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _search_parameters(index.index, effort, selector)
        if inner is None:
            return None
        return faiss.SearchParametersPreTransform(index_params=inner)  # type: ignore[call-arg]
    if isinstance(index, faiss.IndexRefine):
        inner = _search_parameters(index.base_index, effort, selector)
        if inner is None:
            return None
        settings = {"k_factor": index.k_factor, "base_index_params": inner}
        return faiss.IndexRefineSearchParameters(**settings)
    if effort.nprobe is not None:
        return faiss.SearchParametersIVF(nprobe=effort.nprobe, sel=selector)  # type: ignore[call-arg]
    if effort.ef_search is not None:
        return faiss.SearchParametersHNSW(efSearch=effort.ef_search)  # type: ignore[attr-defined]
    return None


def _searched_index(index: Any) -> Any:
    """Return the index inside rotations and refinements: the one whose search effort can be chosen."""
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        index = faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index)
    return index
