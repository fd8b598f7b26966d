"""Search structures derived from the vectors: choosing, building, measuring and searching them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.artifacts import atomic_write
from elasticdenser.cpus import cpu_count
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.efforts import Effort, pick, possible_efforts, search_parameters
from elasticdenser.index.layout import StructureInfo
from elasticdenser.progress import Progress, silent

_FLAT_UP_TO = 10_000
_SCANNED_UP_TO = 1_000_000
_TRAINED_ON = 65_536
_ADDED_AT_ONCE = 16_384
_SAMPLED = 256
_RECALL_WANTED = 0.999
_LEAST_RECALL = 0.8
_LIST_BY_LIST = 11
"""FAISS's way to scan one query's lists with a reservoir of candidates: alone and in batches a tenth faster than its
own choice."""


def choose_factory(n_passages: int, dim: int) -> str:
    """Return the FAISS factory string that `auto` stands for.

    Few vectors are scanned as they are. More are scanned as 4-bit product-quantisation codes (Andre et al. 2015,
    "fast scan"), and the best are rescored exactly. Up to a million, all codes are scanned where recall is what counts,
    and where time is, some lists of an inverted file of the same codes; beyond, there are inverted lists alone.
    """
    if n_passages <= _FLAT_UP_TO or dim % 2:
        return "Flat"
    if n_passages <= _SCANNED_UP_TO:
        scan = f"PQ{dim // 4 if dim % 4 == 0 else dim // 2}x4fs"
        return f"IVF{2 ** round(np.log2(np.sqrt(n_passages)))},{scan} + {scan}"
    return f"IVF{2 ** round(np.log2(4 * np.sqrt(n_passages)))},PQ{dim // 2}x4fs"


def parts_of(factory: str) -> list[str]:
    """Return the factory strings that are joined by " + "."""
    return factory.split(" + ")


class AtEffort:
    """A structure searched with one effort; it proposes candidates, whose exact scores come from the vectors.

    Args:
        index: The FAISS index, or None for a scan of the vectors themselves.
        effort: How hard it is searched.
        vectors: float32, (n, dim).
    """

    def __init__(self, index: Any | None, effort: Effort, vectors: Vectors) -> None:
        self._index, self._vectors = index, vectors
        if isinstance(index, faiss.IndexIVFFastScan):
            index.implem = _LIST_BY_LIST
        self._parameters = None if index is None else search_parameters(index, effort)
        self.n_rescored = effort.n_rescored

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of likely nearest passages, int64, (n_queries, n_candidates), -1 where there are none.

        Args:
            queries: float32, (n_queries, dim).
            n_candidates: How many, at most the number of passages.
        """
        if self._index is None:
            return exact_candidates(queries, self._vectors, n_candidates)
        return self._index.search(queries, n_candidates, params=self._parameters)[1]  # type: ignore[no-any-return]

    def recall(self, queries: Vectors, least: NDArray[np.float32], k: int) -> float:
        """Return the share of the k best that the candidates hold; of equally good passages any will do.

        Args:
            queries: float32, (n_queries, dim).
            least: float32, (n_queries,), the score of the true k-th hit.
            k: How many hits count.
        """
        found = self.candidates(queries, min(self.n_rescored(k), len(self._vectors)))
        hits = 0
        for query, score, candidates in zip(queries, least, found, strict=True):
            scores = self._vectors[candidates[candidates >= 0]] @ query
            hits += min(int((scores >= score - 1e-5).sum()), k)
        return hits / (k * len(queries))


class Structure:
    """FAISS indexes over the stored vectors, and the efforts with which they can be searched.

    Args:
        indexes: The FAISS indexes; None is a scan of the vectors themselves.
        info: What they are, and the efforts.
        vectors: float32, (n, dim), memory-mapped.
    """

    def __init__(self, indexes: Sequence[Any | None], info: StructureInfo, vectors: Vectors) -> None:
        self._indexes, self.info = indexes, info
        self._at = [AtEffort(indexes[effort.part], effort, vectors) for effort in info.efforts]

    def at(self, recall: float | None = None) -> AtEffort:
        """Return the structure at the least effort of such a recall@10; None is the greatest effort.

        Raises:
            QueryError: The recall is out of range.
        """
        return self._at[pick(self.info.efforts, recall)]

    @classmethod
    def read(cls, folder: Path, info: StructureInfo, vectors: Vectors) -> Structure:
        """Read the structure of the index in `folder`.

        Raises:
            IndexFormatError: FAISS cannot read it, or it is of other vectors.
        """
        return cls([_read(folder, file, vectors) for file in info.files] or [None], info, vectors)

    @classmethod
    def build(cls, vectors: Vectors, factory: str, progress: Progress | None = None) -> Structure:
        """Build the structure that `factory` names, and measure efforts up to a recall@10 above 0.999.

        Args:
            vectors: float32, (n, dim).
            factory: FAISS factory string, or several joined by " + ", or `auto`.
            progress: Called with (what, vectors done, of how many).

        Raises:
            BuildError: FAISS does not know the factory string, or cannot train it on so few vectors.
        """
        factory = choose_factory(*vectors.shape) if factory == "auto" else factory
        faiss.omp_set_num_threads(cpu_count())
        indexes = [
            None if part == "Flat" else cls.fill(vectors, part, progress or silent) for part in parts_of(factory)
        ]
        efforts, n_sampled = _measured_efforts(indexes, vectors)
        return cls(indexes, StructureInfo(factory=factory, efforts=efforts, n_sampled=n_sampled), vectors)

    @staticmethod
    def fill(vectors: Vectors, factory: str, progress: Progress = silent) -> Any:
        """Train a FAISS index on a sample of the vectors and add them all.

        Raises:
            BuildError: FAISS does not know the factory string, or cannot train it on so few vectors.
        """
        index = parse_factory(factory, vectors.shape[1])
        n = len(vectors)
        try:
            if not index.is_trained:
                progress("training", 0, 1)
                chosen = np.random.default_rng(0).choice(n, size=min(_TRAINED_ON, n), replace=False)
                index.train(np.ascontiguousarray(vectors[np.sort(chosen)]))
                progress("training", 1, 1)
            for start in range(0, n, _ADDED_AT_ONCE):
                index.add(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE]))
                progress("adding", min(start + _ADDED_AT_ONCE, n), n)
        except RuntimeError as error:
            raise BuildError(
                f"FAISS cannot build {factory!r} from {n} vectors ({_first_line(error)}): use --factory auto"
            ) from None
        return index

    def write(self, folder: Path, taken: Sequence[str] = ()) -> None:
        """Write the FAISS files into `folder`, each atomically and under no name of `taken`; a scan has none."""
        files = []
        for factory, index in zip(parts_of(self.info.factory), self._indexes, strict=True):
            if index is None:
                continue
            name = re.sub(r"[^A-Za-z0-9]+", "-", factory).strip("-") + ".faiss"
            files.append("again-" + name if name in taken else name)
            with atomic_write(folder / files[-1], "wb") as file:
                faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
        self.info = replace(self.info, files=tuple(files))


def _read(folder: Path, file: str, vectors: Vectors) -> Any:
    path, again = folder / file, f"make it again with `elasticdenser rebuild {folder}`"
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise IndexFormatError(f"FAISS cannot read {path} ({_first_line(error)}): {again}") from None
    if (index.ntotal, index.d) != vectors.shape:
        expected = f"expected {vectors.shape[0]} x {vectors.shape[1]}"
        raise IndexFormatError(f"{path} holds {index.ntotal} x {index.d} vectors, {expected}: {again}")
    return index


def _measured_efforts(indexes: Sequence[Any | None], vectors: Vectors) -> tuple[tuple[Effort, ...], int]:
    """Return efforts of rising recall against exact search, and over how many queries it was measured."""
    n = len(vectors)
    queries = _between_passages(vectors, min(_SAMPLED, n))
    least = faiss.knn(queries, vectors, min(10, n), metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    measured: list[Effort] = []
    for effort in possible_efforts(indexes):
        enough = measured and measured[-1].recall_at_10 >= _RECALL_WANTED
        recall = round(AtEffort(indexes[effort.part], effort, vectors).recall(queries, least, min(10, n)), 4)
        if measured and recall < measured[-1].recall_at_10:
            continue
        # Those below are of no use; of those equally good, the last is the safest.
        measured = [before for before in measured if _LEAST_RECALL <= before.recall_at_10 < recall]
        measured.append(replace(effort, recall_at_10=recall))
        if enough:
            break  # one step more than these queries need
    return tuple(measured), len(queries)


def _between_passages(vectors: Vectors, n_queries: int) -> Vectors:
    """Return stand-ins for queries: the directions between three passages each.

    Real queries lie about as far from their hits (measured on NQ and TriviaQA), passages themselves much nearer.
    """
    chosen = np.random.default_rng(0).integers(len(vectors), size=(n_queries, 3))
    sums = np.stack([vectors[some].sum(axis=0) for some in chosen])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.ascontiguousarray(sums / np.maximum(lengths, 1e-12), np.float32)


def exact_candidates(queries: Vectors, vectors: Vectors, k: int) -> Positions:
    """Return the positions of the k highest inner products by brute force, int64, (n_queries, k)."""
    _, positions = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return positions  # type: ignore[no-any-return]


def parse_factory(factory: str, dim: int) -> Any:
    """Return an empty FAISS index.

    Raises:
        BuildError: FAISS does not know the factory string.
    """
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise BuildError(
            f"FAISS does not take the factory string {factory!r} at {dim} dimensions ({_first_line(error)}): use auto, "
            "Flat, HNSW32, IVF1024,Flat, ... (see the FAISS wiki, 'The index factory')"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rsplit(": ", 1)[-1]
