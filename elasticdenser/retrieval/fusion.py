"""Fusion: the hits of several systems for the same queries, merged into one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from ir_measures import ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.retrieval.scores import strictly_decreasing

Normalisation = Literal["min-max", "none"]

_RankedHits = Mapping[str, Sequence[tuple[str, float]]]
"""Query id -> (document id, score), best first."""

_Contributions = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> what a run adds to the score of the document."""


def reciprocal_rank_fusion(
    runs: Sequence[Iterable[ScoredDoc]], k: int = 1000, *, constant: int = 60
) -> Iterator[ScoredDoc]:
    """Merge runs by the ranks alone: a document scores the sum of 1 / (constant + its rank in a run).

    Reciprocal rank fusion: Cormack, Clarke & Büttcher, Reciprocal Rank Fusion Outperforms Condorcet and Individual
    Rank Learning Methods, SIGIR 2009.

    Args:
        runs: Hits of each system, read at once. Ranked by falling score, equal scores in the order given. Their
            queries may be in any order, and some may be missing.
        k: Hits for each query, at most.
        constant: From 1; the larger it is, the less the first ranks stand out.

    Returns:
        Hits query by query, best first; queries in the order of their first appearance. Documents of equal score are
        in the order of their best rank, then of the run with that rank; equal scores are then made distinct by the
        least step of float32, so that every tool that sorts by score keeps this order.

    Raises:
        BadInputError: An argument is out of range, or a run has a document twice for a query, or a score that is
            not finite.
    """
    if constant < 1:
        raise BadInputError(f"got constant = {constant}, expected a number from 1: use the usual 60")
    ranked_runs = _ranked_runs(runs, k)
    contributions: list[_Contributions] = [
        {
            query_id: {doc_id: 1 / (constant + rank) for rank, (doc_id, _) in enumerate(hits, start=1)}
            for query_id, hits in run.items()
        }
        for run in ranked_runs
    ]
    return _merge(ranked_runs, contributions, k)


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
        weights: A weight for each run, from 0, not all 0; only their ratios matter for the ranking.
        k: Hits for each query, at most.
        normalise: `min-max` first maps the scores of a run for a query to [0, 1], so that scales do not matter; if all
            are equal, each becomes 1 (as in pyserini). `none` uses the scores as they are.

    Returns:
        Hits as from `reciprocal_rank_fusion`. A document that is missing in a run gets 0 from it; with `min-max`, this
        is what the last hit of the run gets.

    Raises:
        BadInputError: As in `reciprocal_rank_fusion`.
    """
    if normalise not in ("min-max", "none"):
        raise BadInputError(f"got normalise = {normalise!r}, expected 'min-max' or 'none'")
    weights = [float(weight) for weight in weights]
    if len(weights) != len(runs):
        raise BadInputError(f"got {len(weights)} weights for {len(runs)} runs, expected one weight for each run")
    if runs and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        raise BadInputError(f"got the weights {weights}, expected finite numbers from 0, not all 0, such as 0.5")
    ranked_runs = _ranked_runs(runs, k)
    scale = _min_max if normalise == "min-max" else list
    contributions: list[_Contributions] = [
        {query_id: {doc_id: weight * score for doc_id, score in scale(hits)} for query_id, hits in run.items()}
        for run, weight in zip(ranked_runs, weights, strict=True)
    ]
    return _merge(ranked_runs, contributions, k)


def _min_max(hits: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Map the scores of one query to [0, 1]."""
    high, low = hits[0][1], hits[-1][1]
    return [(doc_id, (score - low) / (high - low) if high > low else 1.0) for doc_id, score in hits]


def _merge(ranked_runs: Sequence[_RankedHits], contributions: Sequence[_Contributions], k: int) -> Iterator[ScoredDoc]:
    """Yield the documents of each query by the sum of the contributions of all runs."""
    for query_id in dict.fromkeys(query_id for run in ranked_runs for query_id in run):
        best_rank: dict[str, tuple[int, int]] = {}  # document id -> (best rank, number of the run)
        for number, run in enumerate(ranked_runs):
            for rank, (doc_id, _) in enumerate(run.get(query_id, ())):
                best_rank[doc_id] = min(best_rank.get(doc_id, (rank, number)), (rank, number))
        of_query = [contribution[query_id] for contribution in contributions if query_id in contribution]
        # An exact sum does not depend on the order of the runs, so that ties are recognised as ties.
        total = {doc_id: math.fsum(scores.get(doc_id, 0.0) for scores in of_query) for doc_id in best_rank}
        order = sorted(best_rank, key=lambda doc_id: (-total[doc_id], best_rank[doc_id]))[:k]
        scores = strictly_decreasing(np.array([total[doc_id] for doc_id in order], np.float32)).tolist()
        for doc_id, score in zip(order, scores, strict=True):
            yield ScoredDoc(query_id, doc_id, score)


def _ranked_runs(runs: Sequence[Iterable[ScoredDoc]], k: int) -> list[_RankedHits]:
    """Read and check all runs, and rank their hits."""
    if not runs:
        raise BadInputError("got no runs, expected at least one: give the hits of each system")
    if k < 1:
        raise BadInputError(f"got k = {k}, expected at least 1")
    return [_ranked_run(run, number) for number, run in enumerate(runs, start=1)]


def _ranked_run(run: Iterable[ScoredDoc], number: int) -> _RankedHits:
    """Check a run, and rank its hits."""
    scores: dict[str, dict[str, float]] = {}
    for hit in run:
        of_query, score = scores.setdefault(hit.query_id, {}), float(hit.score)
        if hit.doc_id in of_query:
            raise BadInputError(
                f"run {number} has document {hit.doc_id!r} twice for query {hit.query_id!r}, expected once: "
                "give each query an id of its own, and each run once"
            )
        if not math.isfinite(score):
            raise BadInputError(
                f"run {number} has the score {score} for document {hit.doc_id!r} of query {hit.query_id!r}, expected "
                "a finite number: make the run again"
            )
        of_query[hit.doc_id] = score
    # Sorting with reverse=True is stable, so ties keep their order.
    return {
        query_id: sorted(of_query.items(), key=lambda item: item[1], reverse=True)
        for query_id, of_query in scores.items()
    }
