"""Stream of hits: batches of queries go through the first stage, the reranker, and the look-up of document ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, islice

import numpy as np

from elasticdenser.arrays import Positions, Scores
from elasticdenser.index import PassageIndex
from elasticdenser.retrieval.by_document import keep_best_chunks
from elasticdenser.retrieval.first_stage import FirstStage
from elasticdenser.retrieval.hits import Hit
from elasticdenser.retrieval.reranking import Reranker
from elasticdenser.retrieval.reranking.batches import rerank_batch
from elasticdenser.retrieval.scores import strictly_decreasing
from elasticdenser.subnet import Subnet

_BATCH = 32
"""Queries that are encoded and searched together; larger batches would delay the first hits of a stream."""


def stream_hits(
    records: Iterator[tuple[str, str]], k: int, first_stage: FirstStage, second_stage: Reranker | None
) -> Iterator[Hit]:
    """Yield the hits of queries, best first, a query at a time.

    Args:
        records: Ids and texts of the queries.
        k: Hits for each query.
        first_stage: Encodes and searches.
        second_stage: Reranks; None leaves the order of the first stage.
    """
    index, by_document = first_stage.index, first_stage.by_document
    while batch := list(islice(records, _BATCH)):
        texts = [text for _, text in batch]
        vectors, scores, positions, subnets = first_stage(texts)
        if second_stage is not None and positions.shape[1]:
            n_reranked = positions.shape[1] if by_document else k
            scores, positions = rerank_batch(second_stage, index, texts, vectors, scores, positions, n_reranked)
        if by_document:
            scores, positions = keep_best_chunks(index, scores, positions, k)
        yield from _hits(index, [query_id for query_id, _ in batch], scores, positions, subnets, by_document)


def _hits(
    index: PassageIndex,
    query_ids: list[str],
    scores: Scores,
    positions: Positions,
    subnets: list[Subnet],
    by_document: bool,
) -> Iterator[Hit]:
    """Yield the hits of a batch of queries.

    Args:
        index: The passages.
        query_ids: The ids of the queries.
        scores: float32, (n_queries, n), best first.
        positions: int64, (n_queries, n), -1 for none.
        subnets: The subnet that encoded each query.
        by_document: Whether the hits name documents.
    """
    if not (scores[:, 1:] < scores[:, :-1]).all():
        scores = np.stack([strictly_decreasing(row) for row in scores])
    is_hit = positions >= 0
    doc_ids = iter(index.doc_ids.take(positions[is_hit]))
    rows = zip(query_ids, scores.tolist(), is_hit.tolist(), subnets, strict=True)
    for query_id, scores_of_query, are_hits, subnet in rows:
        for score in compress(scores_of_query, are_hits):
            passage_id = next(doc_ids)
            if by_document:
                yield Hit(query_id, index.document_of(passage_id), score, subnet, passage_id)
            else:
                yield Hit(query_id, passage_id, score, subnet)
