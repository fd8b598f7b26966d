"""Fusion: the hits of several systems for the same queries, merged into one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from ir_measures import ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.query_input import strictly_falling

Normalisation = Literal["min-max", "none"]

_Ranked = Mapping[str, Sequence[tuple[str, float]]]
"""Query id -> (document id, score), best first."""


def reciprocal_rank_fusion(
    runs: Sequence[Iterable[ScoredDoc]], k: int = 1000, *, constant: int = 60
) -> Iterator[ScoredDoc]:
    """Merge runs by the ranks alone: a document scores the sum of 1 / (constant + its rank in a run).

    Reciprocal rank fusion: Cormack, Clarke & Büttcher, Reciprocal Rank Fusion Outperforms Condorcet and Individual
    Rank Learning Methods, SIGIR 2009.

    Args:
        runs: Hits of each system, read at once. Ranked by descending score, equal scores in the order given.
            They may have their queries in any order, and lack some.
        k: Hits a query, at most.
        constant: From 1; the larger it is, the less the first ranks stand out.

    Returns:
        Hits query by query, best first; queries in the order of their first appearance. Documents of equal score
        stand in the order of their best rank, then of the run that has it; equal scores are then told apart by
        the least step of float32, so that whoever sorts by score keeps this order.

    Raises:
        BadInputError: An argument is out of range, or a run has a document twice for a query, or a score that is
            not finite.
    """
    if constant < 1:
        raise BadInputError(f"got constant = {constant}, expected a number from 1: take the usual 60")
    ranked = _read(runs, k)
    shares: list[dict[str, dict[str, float]]] = [
        {
            query_id: {doc_id: 1 / (constant + rank) for rank, (doc_id, _) in enumerate(hits, start=1)}
            for query_id, hits in run.items()
        }
        for run in ranked
    ]
    return _merged(ranked, shares, k)


def weighted_fusion(
    runs: Sequence[Iterable[ScoredDoc]],
    weights: Sequence[float],
    k: int = 1000,
    *,
    normalise: Normalisation = "min-max",
) -> Iterator[ScoredDoc]:
    """Merge runs by the weighted sum of their scores.

    Args:
        runs: As for `reciprocal_rank_fusion`.
        weights: One a run, from 0, not all 0; only their ratios matter for the ranking.
        k: Hits a query, at most.
        normalise: `min-max` maps a run's scores of a query to [0, 1] first, so that scales do not matter; where
            all are equal, each becomes 1 (as in pyserini). `none` takes the scores as they are.

    Returns:
        Hits as from `reciprocal_rank_fusion`. A document that a run lacks gets 0 from it; with `min-max` this is
        as much as the run's last hit gets.

    Raises:
        BadInputError: As in `reciprocal_rank_fusion`.
    """
    if normalise not in ("min-max", "none"):
        raise BadInputError(f"got normalise = {normalise!r}, expected 'min-max' or 'none'")
    weights = [float(weight) for weight in weights]
    if len(weights) != len(runs):
        raise BadInputError(f"got {len(weights)} weights for {len(runs)} runs, expected one weight a run")
    if runs and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        raise BadInputError(f"got the weights {weights}, expected finite numbers from 0, not all 0, such as 0.5")
    ranked = _read(runs, k)
    shares: list[dict[str, dict[str, float]]] = [
        {
            query_id: {doc_id: weight * score for doc_id, score in (_min_max(hits) if normalise == "min-max" else hits)}
            for query_id, hits in run.items()
        }
        for run, weight in zip(ranked, weights, strict=True)
    ]
    return _merged(ranked, shares, k)


def _min_max(hits: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Map the scores of one query to [0, 1]."""
    high, low = hits[0][1], hits[-1][1]
    return [(doc_id, (score - low) / (high - low) if high > low else 1.0) for doc_id, score in hits]


def _merged(ranked: Sequence[_Ranked], shares: Sequence[dict[str, dict[str, float]]], k: int) -> Iterator[ScoredDoc]:
    """Yield the documents of each query by the sum of what each run gives them."""
    for query_id in dict.fromkeys(query_id for run in ranked for query_id in run):
        best: dict[str, tuple[int, int]] = {}
        for number, run in enumerate(ranked):
            for rank, (doc_id, _) in enumerate(run.get(query_id, ())):
                best[doc_id] = min(best.get(doc_id, (rank, number)), (rank, number))
        given = [share[query_id] for share in shares if query_id in share]
        # An exact sum does not depend on the order of the runs, so that ties are seen as ties.
        total = {doc_id: math.fsum(share.get(doc_id, 0.0) for share in given) for doc_id in best}
        order = sorted(best, key=lambda doc_id: (-total[doc_id], best[doc_id]))[:k]
        scores = strictly_falling(np.array([total[doc_id] for doc_id in order], np.float32)).tolist()
        for doc_id, score in zip(order, scores, strict=True):
            yield ScoredDoc(query_id, doc_id, score)


def _read(runs: Sequence[Iterable[ScoredDoc]], k: int) -> list[_Ranked]:
    """Read and check all runs, and rank their hits."""
    if not runs:
        raise BadInputError("got no runs, expected at least one: give the hits of each system")
    if k < 1:
        raise BadInputError(f"got k = {k}, expected at least 1")
    return [_ranked(run, number) for number, run in enumerate(runs, start=1)]


def _ranked(run: Iterable[ScoredDoc], number: int) -> _Ranked:
    scores: dict[str, dict[str, float]] = {}
    for hit in run:
        found, score = scores.setdefault(hit.query_id, {}), float(hit.score)
        if hit.doc_id in found:
            raise BadInputError(
                f"run {number} has document {hit.doc_id!r} twice for query {hit.query_id!r}, expected once: "
                "give each query an id of its own, and each run once"
            )
        if not math.isfinite(score):
            raise BadInputError(
                f"run {number} has the score {score} for document {hit.doc_id!r} of query {hit.query_id!r}, expected "
                "a finite number: make the run again"
            )
        found[hit.doc_id] = score
    # Sorting with reverse=True is stable, so ties keep their order.
    return {
        query_id: sorted(found.items(), key=lambda item: item[1], reverse=True) for query_id, found in scores.items()
    }
