"""Exact scores of candidates, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.index.structures import CandidateSource
from elasticdenser.kernel.paths import has_fast_path, path_number

# `Margin` of elasticdenser/kernel/model.h.
_MARGIN = np.dtype([("worst_score", "<f4"), ("norm_product", "<f4"), ("n_tied", "<i8")])

_ROUNDING = 2e-6
"""Two ways to compute an inner product of vectors of length 1 differ by at most this."""

_GROWTH = 4
"""Factor by which the number of candidates grows: even with thousands of equal passages, few rounds suffice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """The best candidates of some queries, by exact scores that do not depend on the other queries.

    Attributes:
        scores: float32, (n_queries, k), in falling order; -infinity where there are no more.
        positions: int64, (n_queries, k), in rising order among equal scores; -1 where there are no more.
        worst_score: float32, (n_queries,), score of the worst candidate; -infinity if a candidate is -1.
        norm_product: float32, (n_queries,), norm of the query times norm of the last hit's vector.
        n_tied: int64, (n_queries,), number of candidates with the score of the last hit, including that hit.
    """

    scores: Scores
    positions: Positions
    worst_score: Scores
    norm_product: Scores
    n_tied: Positions

    def may_miss(self, n_tied: int | Positions) -> NDArray[np.bool_]:
        """Tell for which queries other passages than the candidates may be as good as the last hit: bool, (n_queries,).

        That is so if the worst candidate is as good, within the rounding errors of the scores by which candidates are
        proposed; or if more than `n_tied` candidates tie with the last hit.

        Args:
            n_tied: Number of ties, for each query, in the previous round with fewer candidates.
        """
        last = self.scores[:, -1]
        is_close = (self.worst_score >= last - _ROUNDING * self.norm_product) & np.isfinite(self.worst_score)
        return is_close | ((self.n_tied > n_tied) & np.isfinite(last))  # type: ignore[no-any-return]


def best_candidates(
    queries: Vectors, source: CandidateSource, vectors: Vectors, k: int, spare: int = 0, *, check_order: bool = False
) -> tuple[Scores, Positions]:
    """Return exact scores and positions of the best candidates that `source` proposes.

    Where other passages may be as good as the last hit, more candidates are requested for that query, so that the hits
    of a query do not depend on the other queries.

    Args:
        queries: float32, (n_queries, dim).
        source: Proposes the candidates.
        vectors: float32, (n_passages, dim).
        k: From 1 to `source.max_candidates`.
        spare: Further hits, of the candidates that are scored for k hits: more of the true ones are missed.
        check_order: Request more, too, where one of the k hits stands in the last half of the candidates. Hits that are
            far from the query are among many passages of similar scores, whose rough order means little.

    Returns:
        Scores, float32, and positions, int64, both (n_queries, k + spare), or fewer if no more are proposed, best
        first; -1 where there are no more.
    """
    n_candidates = min(source.max_candidates, max(source.n_candidates(k), k + spare))
    n_hits = min(source.max_candidates, k + spare)

    def search(rows: Positions, n_tied: int | Positions) -> tuple[Rescored, NDArray[np.bool_]]:
        proposed = source.candidates(queries[rows], n_candidates)
        rescored = rescore(queries[rows], proposed, vectors, n_hits)
        may_miss = rescored.may_miss(n_tied)
        if check_order:
            may_miss |= _stand_late(rescored.positions[:, :k], proposed)
        return rescored, may_miss

    rescored, may_miss = search(np.arange(len(queries)), 1)
    scores, positions, unsettled = rescored.scores, rescored.positions, np.flatnonzero(may_miss)
    n_tied = rescored.n_tied[unsettled]
    while len(unsettled) and n_candidates < source.max_candidates:
        n_candidates = min(_GROWTH * n_candidates, source.max_candidates)
        rescored, may_miss = search(unsettled, n_tied)
        scores[unsettled], positions[unsettled] = rescored.scores, rescored.positions
        unsettled, n_tied = unsettled[may_miss], rescored.n_tied[may_miss]
    return scores, positions


def _stand_late(hits: Positions, proposed: Positions) -> NDArray[np.bool_]:
    """Tell for which queries a hit is missing or in the last half of the candidates: bool, (n_queries,)."""
    stand_late = np.empty(len(hits), bool)
    for row, (own, candidates) in enumerate(zip(hits.tolist(), proposed, strict=True)):
        n = int(np.count_nonzero(candidates >= 0))  # -1 stands after all others
        stand_late[row] = own[-1] < 0 or not set(own).isdisjoint(candidates[n // 2 : n].tolist())
    return stand_late


def rescore(queries: Vectors, candidates: Positions, vectors: Vectors, k: int) -> Rescored:
    """Return the k candidates of each query whose stored vectors have the highest inner products.

    Args:
        queries: float32, (n_queries, dim).
        candidates: int64, (n_queries, n_candidates), positions in `vectors`, -1 for none.
        vectors: float32, (n_passages, dim).
        k: From 1 to n_candidates.
    """
    candidates = np.ascontiguousarray(candidates, np.int64)
    if has_fast_path():
        return _rescore_by_kernel(queries, candidates, vectors, k)
    return _rescore_by_faiss(queries, candidates, vectors, k)


def _rescore_by_kernel(queries: Vectors, candidates: Positions, vectors: Vectors, k: int) -> Rescored:
    from elasticdenser.kernel import _kernel

    n_queries, n_candidates = candidates.shape
    scores, positions = np.empty((n_queries, k), np.float32), np.empty((n_queries, k), np.int64)
    scratch, margins = np.empty(n_candidates, np.float32), np.empty(n_queries, _MARGIN)
    _kernel.rescore(
        path_number(), vectors, vectors.shape[1], queries, candidates, k, scratch, scores, positions, margins
    )
    by_name = {name: margins[name] for name in _MARGIN.names or ()}
    return Rescored(scores=scores, positions=positions, **by_name)


def _rescore_by_faiss(queries: Vectors, candidates: Positions, vectors: Vectors, k: int) -> Rescored:
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
        worst_score=scores[:, -1],
        norm_product=(np.linalg.norm(queries, axis=1) * np.linalg.norm(last, axis=1)).astype(np.float32),
        n_tied=(scores == scores[:, k - 1 : k]).sum(axis=1),
    )
