"""Targets of a ranker: the mixture of the teachers' scores, and judgements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Scores
from elasticdenser.training.ranker.candidates import CandidatePools
from elasticdenser.training.ranker.queries import RankerQueries

Labels = NDArray[np.int8]
"""int8, (n_queries, n): 1 for a relevant candidate, 0 for one that is not, -1 for one that counts as neither."""


def mix_scores(scores: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """Return the weighted sum of scores, each scaled to 0 to 1 within a query's pool.

    Args:
        scores: For each teacher float32, (n_queries, n), NaN where a score is unknown.
        weights: Weight of each teacher.

    Returns:
        float32, (n_queries, n): NaN where a teacher's score is unknown.
    """
    mixture = np.zeros(scores[0].shape, np.float32)
    for teacher_scores, weight in zip(scores, weights, strict=True):
        known = np.isfinite(teacher_scores)
        low = np.where(known, teacher_scores, np.inf).min(axis=1, keepdims=True)
        high = np.where(known, teacher_scores, -np.inf).max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            scaled = (teacher_scores - low) / np.maximum(high - low, 1e-6)
        mixture += np.float32(weight) * np.where(known, scaled, np.nan).astype(np.float32)
    return mixture


def labels_of(
    queries: RankerQueries, pools: CandidatePools, targets: Scores | None, false_negative_share: float
) -> Labels:
    """Return the labels of all candidates.

    A query without judgements has none. Candidates that nobody judged are not relevant, unless the teachers score them
    nearly as high as the best relevant one: such are mostly relevant themselves (Qu et al. 2021; Moreira et al. 2024).

    Args:
        queries: The queries with their judgements.
        pools: Their candidates.
        targets: Mixture of the teachers' scores, if there are any.
        false_negative_share: Share of the best relevant candidate's score above which an unjudged one is left out.
    """
    labels = np.full(pools.shape, -1, np.int8)
    for number, judged in queries.judgements.items():
        pool = pools[number]
        relevance = np.array([judged.get(int(position), -1) for position in pool])
        row = np.where(pool >= 0, 0, -1)
        row[relevance > 0] = 1
        if targets is not None and (relevance > 0).any():
            best = np.nanmax(np.where(relevance > 0, targets[number], -np.inf))
            with np.errstate(invalid="ignore"):
                row[(relevance < 0) & (row == 0) & (targets[number] > false_negative_share * best)] = -1
        labels[number] = row
    return labels
