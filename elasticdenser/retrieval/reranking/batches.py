"""Reranking of the hits of a batch of queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.retrieval.reranking.base import Candidates, Reranker


def rerank_batch(
    reranker: Reranker,
    index: PassageIndex,
    texts: Sequence[str],
    vectors: Vectors,
    scores: Scores,
    positions: Positions,
    k: int,
) -> tuple[Scores, Positions]:
    """Return the k best hits of each query: the reranked candidates, then the other hits in their old order.

    Args:
        reranker: The second stage.
        index: The passages.
        texts: The queries.
        vectors: float32, (n_queries, dim).
        scores: float32, (n_queries, n), of the first stage, best first.
        positions: int64, (n_queries, n), -1 for none.
        k: Hits for each query.

    Raises:
        QueryError: The reranker returned scores that are not finite.
    """
    n_candidates = reranker.n_candidates
    n_hits = (positions >= 0).sum(axis=1)
    batch = [
        Candidates(
            text=texts[row],
            vector=vectors[row],
            scores=scores[row, : min(n, n_candidates)],
            positions=positions[row, : min(n, n_candidates)],
        )
        for row, n in enumerate(n_hits.tolist())
    ]
    k = min(k, positions.shape[1])
    new_scores = np.full((len(texts), k), -np.inf, np.float32)
    new_positions = np.full((len(texts), k), -1, np.int64)
    for row, ranking in enumerate(reranker.rerank(batch, k, index)):
        if not np.isfinite(ranking.scores).all():
            raise QueryError(f"the reranker {reranker} returned scores that are not finite: check its model")
        last = ranking.scores[-1:].min(initial=np.inf)
        row_scores = np.concatenate([ranking.scores, np.minimum(scores[row, n_candidates:], last)])[:k]
        new_scores[row, : len(row_scores)] = row_scores
        new_positions[row, : len(row_scores)] = np.concatenate([ranking.positions, positions[row, n_candidates:]])[:k]
    return new_scores, new_positions
