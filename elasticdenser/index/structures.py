"""Search structures derived from the vectors: choosing, building, measuring and searching them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from elasticdenser.artifacts import atomic_write
from elasticdenser.cpus import cpu_count
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.layout import StructureInfo

Vectors = NDArray[np.float32]
Positions = NDArray[np.int64]
Progress = Callable[[str, int, int], None]

_FLAT_UP_TO = 10_000
_EXHAUSTIVE_UP_TO = 1_000_000
_TRAINED_ON = 65_536
_ADDED_AT_ONCE = 16_384
_SAMPLED = 256
_RECALL_WANTED = 0.999


def choose_factory(n_passages: int, dim: int) -> str:
    """Return the FAISS factory string that `auto` stands for.

    Few vectors are scanned as they are. Up to a million, all of them are scanned as 4-bit product-quantisation
    codes of two dimensions each (Andre et al. 2015, "fast scan"), and the best are rescored exactly. Beyond,
    an inverted file bounds how many are scanned.
    """
    if n_passages <= _FLAT_UP_TO or dim % 2:
        return "Flat"
    scan = f"PQ{dim // 2}x4fs"
    if n_passages <= _EXHAUSTIVE_UP_TO:
        return scan
    n_lists = 2 ** round(np.log2(4 * np.sqrt(n_passages)))
    return f"IVF{n_lists},{scan}"


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


class Structure:
    """A FAISS index over the stored vectors; it proposes candidates, whose exact scores come from the vectors.

    Args:
        index: The FAISS index, or None for a scan of the vectors themselves.
        info: Its settings.
        vectors: float32, (n, dim), memory-mapped.
    """

    def __init__(self, index: Any | None, info: StructureInfo, vectors: Vectors) -> None:
        self._index, self._vectors = index, vectors
        self.info = info
        self._apply(info)

    @classmethod
    def read(cls, folder: Path, info: StructureInfo, vectors: Vectors) -> Structure:
        """Read the structure of the index in `folder`.

        Raises:
            IndexFormatError: FAISS cannot read it, or it is of other vectors.
        """
        if not info.file:
            return cls(None, info, vectors)
        path = folder / info.file
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise IndexFormatError(
                f"FAISS cannot read {path} ({_first_line(error)}): make it again with `elasticdenser rebuild {folder}`"
            ) from None
        if (index.ntotal, index.d) != vectors.shape:
            raise IndexFormatError(
                f"{path} holds {index.ntotal} x {index.d} vectors, expected {vectors.shape[0]} x {vectors.shape[1]}: "
                f"make it again with `elasticdenser rebuild {folder}`"
            )
        return cls(index, info, vectors)

    @classmethod
    def build(
        cls, vectors: Vectors, factory: str, info: StructureInfo | None = None, progress: Progress | None = None
    ) -> Structure:
        """Build the structure that `factory` names and tune it to a recall@10 of 0.999 against exact search.

        Args:
            vectors: float32, (n, dim).
            factory: FAISS factory string, or `auto`.
            info: Settings to use instead of tuned ones.
            progress: Called with (what, vectors done, of how many).

        Raises:
            BuildError: FAISS does not know the factory string, or cannot train it on so few vectors.
        """
        factory = choose_factory(*vectors.shape) if factory == "auto" else factory
        faiss.omp_set_num_threads(cpu_count())
        index = None if factory == "Flat" else cls.fill(vectors, factory, progress or silent)
        untuned = StructureInfo(factory=factory, rescored=0, recall_at_10=0.0, n_sampled=0)
        return cls(index, info or untuned, vectors)._tuned(tune=info is None)

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

    def write(self, folder: Path, taken: str = "") -> None:
        """Write the FAISS file into `folder` atomically, under another name than `taken`; a flat scan has none."""
        if self._index is None:
            return
        name = re.sub(r"[^A-Za-z0-9]+", "-", self.info.factory).strip("-") + ".faiss"
        if name == taken:
            name = "again-" + name
        with atomic_write(folder / name, "wb") as file:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
        self.info = replace(self.info, file=name)

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of likely nearest passages, int64, (n_queries, n_candidates), -1 where there are none.

        Args:
            queries: float32, (n_queries, dim).
            n_candidates: How many, at most the number of passages.
        """
        if self._index is None:
            return exact_candidates(queries, self._vectors, n_candidates)
        _, positions = self._index.search(queries, n_candidates)
        return positions  # type: ignore[no-any-return]

    def _apply(self, info: StructureInfo) -> None:
        """Set the search effort; done while a structure is made or read, never while it serves."""
        self.info = info
        if self._index is None:
            return
        inner = _innermost(self._index)
        if info.nprobe is not None:
            inner.nprobe = info.nprobe
        if info.ef_search is not None:
            inner.hnsw.efSearch = info.ef_search

    def n_rescored(self, k: int) -> int:
        """Return for how many candidates exact scores are computed when `k` hits are wanted.

        The surplus over k that quantisation needs grows somewhat slower than k.
        """
        surplus = max(self.info.rescored - 10, 0)
        return k + int(surplus * (max(k, 10) / 10) ** 0.75)

    def _tuned(self, *, tune: bool) -> Structure:
        """Raise the search effort until recall@10 on sampled passages is as wanted; record what it is."""
        n = len(self._vectors)
        sample = np.random.default_rng(0).choice(n, size=min(_SAMPLED, n), replace=False)
        queries = np.ascontiguousarray(self._vectors[np.sort(sample)])
        least = faiss.knn(queries, self._vectors, min(10, n), metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1]
        efforts = _efforts(self._index, n, self.info) if tune else [self.info]
        enough = False
        for effort in efforts:
            self._apply(effort)
            recall = self._recall(queries, least, min(10, n))
            self.info = replace(effort, recall_at_10=round(recall, 4), n_sampled=len(sample))
            if enough:
                break
            # One step more than passages need: real queries lie farther from the passages.
            enough = recall >= _RECALL_WANTED
        return self

    def _recall(self, queries: Vectors, least: NDArray[np.float32], k: int) -> float:
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


def _efforts(index: Any | None, n: int, info: StructureInfo) -> list[StructureInfo]:
    """Return settings of rising effort: inverted lists or graph breadth first, then exact rescoring."""
    if index is None:
        return [replace(info, rescored=16)]
    inner = _innermost(index)
    if isinstance(inner, faiss.IndexIVF | faiss.IndexIVFFastScan):
        probes = [2**power for power in range(3, 12) if 2**power < inner.nlist] + [inner.nlist]
        return [replace(info, nprobe=probe, rescored=rescored) for probe in probes for rescored in (32, 128)]
    if isinstance(inner, faiss.IndexHNSW):
        return [replace(info, ef_search=breadth, rescored=32) for breadth in (32, 64, 128, 256, 512)]
    return [replace(info, rescored=rescored) for rescored in (16, 32, 64, 128, 256, 512, 1024)]


def _innermost(index: Any) -> Any:
    """Return the index inside rotations and refinements, which is the one that has a search effort."""
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        index = faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index)
    return index


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rsplit(": ", 1)[-1]
