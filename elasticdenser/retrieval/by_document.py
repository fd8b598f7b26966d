"""Ranking of documents by their best chunks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from elasticdenser.arrays import Positions, Scores
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex

_CHUNKS_PER_DOCUMENT = 4
"""Chunks that are retrieved at first for each wanted document, and factor by which more are retrieved."""


def check_has_documents(index: PassageIndex) -> None:
    """Refuse an index that was built without chunks.

    Raises:
        QueryError: Its documents were not cut into chunks.
    """
    if index.manifest.chunking is None:
        raise QueryError(
            f"got by_document for {index.path}, whose documents were not cut into chunks, expected an index built with "
            "--chunk: leave it out, or build the index with --chunk TOKENS"
        )


def retrieve_documents(
    retrieve: Callable[..., tuple[Scores, Positions]], index: PassageIndex, n_documents: int, *, n_least: int = 1
) -> tuple[Scores, Positions]:
    """Retrieve more and more chunks, until those of each query are of enough documents or there are no more.

    Args:
        retrieve: Searches as `PassageIndex.search` does; called with `k`.
        index: The index.
        n_documents: Documents wanted for each query.
        n_least: Chunks wanted for each query, of however few documents.

    Returns:
        Scores, float32, and positions, int64, both (n_queries, n), best first, several for a document.
    """
    n_chunks = max(n_documents * _CHUNKS_PER_DOCUMENT, n_least)
    while True:
        scores, positions = retrieve(k=n_chunks)
        if positions.shape[1] < n_chunks:
            return scores, positions
        if all(len(_firsts_of_documents(index, row)) >= n_documents for row in positions):
            return scores, positions
        n_chunks *= _CHUNKS_PER_DOCUMENT


def keep_best_chunks(index: PassageIndex, scores: Scores, positions: Positions, k: int) -> tuple[Scores, Positions]:
    """Keep the first chunk of each document.

    Args:
        index: The index.
        scores: float32, (n_queries, n), best first.
        positions: int64, (n_queries, n), -1 for none.
        k: Documents for each query.

    Returns:
        Scores and positions, both (n_queries, at most k); -1 for none.
    """
    kept = [_firsts_of_documents(index, row)[:k] for row in positions]
    shape = len(positions), max(map(len, kept), default=0)
    best_scores, best_positions = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    for row, columns in enumerate(kept):
        best_scores[row, : len(columns)] = scores[row, columns]
        best_positions[row, : len(columns)] = positions[row, columns]
    return best_scores, best_positions


def _firsts_of_documents(index: PassageIndex, positions: Positions) -> list[int]:
    """Return the columns of the first chunk of each document in a row of positions, int64, (n,), -1 for none."""
    columns = np.flatnonzero(positions >= 0)
    firsts: dict[str, int] = {}
    for column, passage_id in zip(columns.tolist(), index.doc_ids.take(positions[columns]), strict=True):
        firsts.setdefault(index.document_of(passage_id), column)
    return list(firsts.values())
