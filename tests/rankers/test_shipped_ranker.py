"""The ranker that comes with this package, on real queries."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from kernel_helpers import needs_fast_path

from elasticdenser import LateInteractionRanker, load_qrels, load_queries, open_corpus
from elasticdenser.datasets.runs import read_run

pytestmark = [needs_fast_path, pytest.mark.slow]

N_QUERIES, N_CANDIDATES = 8, 20


def test_it_ranks_better_than_bm25(data):
    folder = data / "rerank" / "dl19"
    candidates: dict[str, list[str]] = {}
    for hit in read_run(folder / "runs" / "bm25.trec.gz"):
        candidates.setdefault(hit.query_id, []).append(hit.doc_id)
    candidates = {query_id: candidates[query_id][:N_CANDIDATES] for query_id in sorted(candidates)[:N_QUERIES]}
    needed = {doc_id for doc_ids in candidates.values() for doc_id in doc_ids}
    texts = {passage.doc_id: passage.content for passage in open_corpus(folder) if passage.doc_id in needed}
    queries = {query.query_id: query.text for query in load_queries(folder)}
    grades = {(qrel.query_id, qrel.doc_id): qrel.relevance for qrel in load_qrels(folder, split="test")}
    ranker = LateInteractionRanker.from_pretrained()

    def gain(query_id, doc_ids):
        discounts = 1 / np.log2(np.arange(2, 12))
        return float(discounts @ [grades.get((query_id, doc_id), 0) for doc_id in doc_ids[:10]])

    before = fmean(gain(query_id, doc_ids) for query_id, doc_ids in candidates.items())
    after = fmean(
        gain(
            query_id,
            [doc_ids[ranked.position] for ranked in ranker.rerank(queries[query_id], list(map(texts.get, doc_ids)))],
        )
        for query_id, doc_ids in candidates.items()
    )
    assert after > 1.1 * before
