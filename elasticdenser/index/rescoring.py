"""Exact scores of candidates, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.kernel.paths import has_fast_path, path_number

_MARGIN = np.dtype([("least", "<f4"), ("length", "<f4"), ("n_tied", "<i8")])
_ROUNDING = 2e-6
"""By how much two ways to compute an inner product may differ, for vectors of length 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """The best candidates of some queries, by exact scores that do not depend on the other queries.

    Attributes:
        scores: float32, (n_queries, k), falling; -infinity where there are no more.
        positions: int64, (n_queries, k), rising among equal scores; -1 where there are no more.
        least: float32, (n_queries,), the score of the worst candidate, -infinity if some candidate was -1.
        length: float32, (n_queries,), length of the query times that of the last hit's vector.
        n_tied: int64, (n_queries,), candidates that score as the last hit does.
    """

    scores: Scores
    positions: Positions
    least: Scores
    length: Scores
    n_tied: Positions

    def may_miss(self, n_tied: int | Positions) -> NDArray[np.bool_]:
        """Tell for which queries more candidates may be as good as the last hit.

        The worst candidate is: a structure's or a matrix product's own scores are rounded otherwise than these. Or
        more candidates score as the last hit does than `n_tied`, which fewer candidates held.
        """
        last = self.scores[:, -1]
        near = (self.least >= last - _ROUNDING * self.length) & np.isfinite(self.least)
        return near | ((self.n_tied > n_tied) & np.isfinite(last))  # type: ignore[no-any-return]


def rescore(queries: Vectors, candidates: Positions, vectors: Vectors, k: int) -> Rescored:
    """Return the k candidates of each query whose stored vectors have the highest inner products.

    Args:
        queries: float32, (n_queries, dim).
        candidates: int64, (n_queries, n_candidates), positions in `vectors`, -1 for none.
        vectors: float32, (n, dim).
        k: From 1 to n_candidates.
    """
    if has_fast_path():
        return _by_kernel(queries, candidates, vectors, k)
    return _by_faiss(queries, candidates, vectors, k)


def _by_kernel(queries: Vectors, candidates: Positions, vectors: Vectors, k: int) -> Rescored:
    from elasticdenser.kernel import _kernel

    n_queries, n_candidates = candidates.shape
    scores, positions = np.empty((n_queries, k), np.float32), np.empty((n_queries, k), np.int64)
    room, margins = np.empty(n_candidates, np.float32), np.empty(n_queries, _MARGIN)
    _kernel.rescore(path_number(), vectors, vectors.shape[1], queries, candidates, k, room, scores, positions, margins)
    least, length, n_tied = margins["least"], margins["length"], margins["n_tied"]
    return Rescored(scores=scores, positions=positions, least=least, length=length, n_tied=n_tied)


def _by_faiss(queries: Vectors, candidates: Positions, vectors: Vectors, k: int) -> Rescored:
    scores = np.empty(candidates.shape, np.float32)
    faiss.fvec_inner_products_by_idx(  # type: ignore[attr-defined]
        faiss.swig_ptr(scores),
        faiss.swig_ptr(queries),
        faiss.swig_ptr(vectors),
        faiss.swig_ptr(candidates),
        vectors.shape[1],
        *candidates.shape,
    )
    scores[candidates < 0] = -np.inf
    order = np.lexsort((candidates, -scores))
    scores, positions = np.take_along_axis(scores, order, 1), np.take_along_axis(candidates, order, 1)
    last = vectors[positions[:, k - 1]]
    return Rescored(
        scores=scores[:, :k],
        positions=positions[:, :k],
        least=scores[:, -1],
        length=(np.linalg.norm(queries, axis=1) * np.linalg.norm(last, axis=1)).astype(np.float32),
        n_tied=(scores == scores[:, k - 1 : k]).sum(axis=1),
    )
