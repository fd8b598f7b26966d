"""Reranking: what a retriever does with a reranker, and maximal marginal relevance."""

from __future__ import annotations

import gzip
import json
import pickle
from dataclasses import replace
from itertools import groupby, islice

import numpy as np
import pytest
from hashing import unit_vectors

from elasticdenser import PassageIndex, Retriever
from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError
from elasticdenser.retrieval.reranking import Candidates, Ranking, Reranker, make_reranker
from elasticdenser.retrieval.reranking.mmr import MaximalMarginalRelevance

WORDS = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
TEXTS = [f"{first} and {second}" for first in WORDS for second in WORDS] + ["dune and the very same text"] * 30


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder):
    folder = tmp_path_factory.mktemp("reranking")
    lines = (json.dumps({"_id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(TEXTS))
    (folder / "passages.jsonl").write_text("".join(lines))
    return PassageIndex.build(folder / "passages.jsonl", folder / "index", tiny_encoder, workers=1)


@pytest.fixture(scope="module")
def retriever(index, tiny_query_encoder):
    return Retriever(tiny_query_encoder, index)


def hits_of(retriever, queries, **options) -> list[list[tuple[str, float]]]:
    hits = retriever.search(queries, **options)
    return [[(hit.doc_id, hit.score) for hit in of_query] for _, of_query in groupby(hits, lambda hit: hit.query_id)]


def ids_of(retriever, query, **options) -> list[str]:
    return [hit.doc_id for hit in retriever.search(query, **options)]


class Backwards:
    """Reverses the candidates, and records what it was given."""

    def __init__(self, n_candidates=8, scores=None):
        self.n_candidates, self._scores, self.batches = n_candidates, scores, []

    def __str__(self):
        return "backwards"

    def check_index(self, index):
        if not index.has_texts:
            raise QueryError("the reranker 'backwards' needs the texts of the passages: build the index with texts")

    def rerank(self, batch, k, index):
        self.batches.append([(candidates.text, len(candidates.positions)) for candidates in batch])
        assert all(index.passage_at(int(position)).text for position in batch[0].positions)
        scores = np.arange(self.n_candidates, 0, -1, dtype=np.float32) if self._scores is None else self._scores
        return [
            Ranking(scores[: len(candidates.positions)][:k], candidates.positions[::-1][:k]) for candidates in batch
        ]


def test_the_order_is_that_of_the_reranker(retriever):
    first = ids_of(retriever, "dune", k=20)
    reranker = Backwards()
    assert isinstance(reranker, Reranker)
    for k in (1, 3, 8):
        assert ids_of(retriever, "dune", k=k, reranker=reranker) == first[:8][::-1][:k]
    assert [hit.score for hit in retriever.search("dune", k=3, reranker=reranker)] == [8.0, 7.0, 6.0]


def test_hits_beyond_the_candidates_keep_their_order(retriever, index):
    first = ids_of(retriever, "dune", k=len(index))
    hits = list(retriever.search("dune", k=1000, reranker=Backwards()))
    assert [hit.doc_id for hit in hits] == first[:8][::-1] + first[8:]
    assert (np.diff(np.float32([hit.score for hit in hits])) < 0).all()


@pytest.mark.slow
def test_batches_filters_and_streams_are_reranked_alike(retriever):
    queries = [f"{word} {number}" for number, word in enumerate(WORDS * 7)]
    reranker = Backwards()
    together = hits_of(retriever, iter(queries), k=5, reranker=reranker)
    assert [text for batch in reranker.batches for text, _ in batch] == queries
    assert [hits_of(retriever, query, k=5, reranker=reranker)[0] for query in queries] == together
    some = ["d3", "d50", "d99"]
    first = ids_of(retriever, "dune", doc_ids=some)
    assert ids_of(retriever, "dune", doc_ids=some, reranker=Backwards()) == first[::-1]
    assert ids_of(retriever, "dune", doc_ids=some, k=2, reranker=Backwards()) == first[::-1][:2]
    assert ids_of(retriever, "dune", doc_ids=[], reranker=Backwards()) == []
    assert list(retriever.search([], reranker=Backwards())) == []


def test_a_retriever_has_its_own_reranker(index, retriever, tiny_query_encoder):
    own = Retriever(tiny_query_encoder, index, reranker="mmr:0.3")
    assert own.reranker == MaximalMarginalRelevance(trade_off=0.3)
    plain = hits_of(retriever, "dune", k=20)
    assert hits_of(own, "dune", k=20, reranker="none") == plain
    assert hits_of(own, "dune", k=20) == hits_of(retriever, "dune", k=20, reranker="mmr:0.3") != plain
    assert Retriever(tiny_query_encoder, index, reranker="none").reranker is None


def test_open_gives_other_processes_the_same_reranker(index):
    opened = Retriever.open(index.path, dtype="float32", download=False, reranker="mmr:0.2:50")
    again = pickle.loads(pickle.dumps(opened.opener))()
    assert again.reranker == opened.reranker == MaximalMarginalRelevance(trade_off=0.2, n_candidates=50)
    assert hits_of(again, "dune", k=5) == hits_of(opened, "dune", k=5)


def test_what_cannot_be_reranked_is_refused_by_the_call(retriever, index, tiny_encoder, tiny_query_encoder, tmp_path):
    without_texts = PassageIndex.build(index.path / "passages.jsonl", tmp_path / "index", tiny_encoder, texts=False)
    with pytest.raises(QueryError, match="needs the texts"):
        Retriever(tiny_query_encoder, without_texts, reranker=Backwards())
    with pytest.raises(QueryError, match="needs the texts"):
        Retriever(tiny_query_encoder, without_texts).search("dune", reranker=Backwards())
    hits = retriever.search("dune", reranker=Backwards(scores=np.full(8, np.nan, np.float32)))
    with pytest.raises(QueryError, match="the reranker backwards returned scores that are not finite"):
        next(hits)


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("cross", "got reranker 'cross', expected one of elastic, mmr, none"),
        ("", "got reranker ''"),
        ("mmr:x", "got reranker 'mmr:x', expected mmr:TRADE_OFF"),
        ("mmr:0.5:", "got reranker 'mmr:0.5:'"),
        ("mmr:0.5:1.5", "got reranker 'mmr:0.5:1.5'"),
        ("mmr:1.1", "got a trade-off of 1.1, expected .*from 0 to 1"),
        ("mmr:nan", "got a trade-off of nan"),
        ("mmr:0.5:0", "got 0 candidates, expected .*at least 1"),
    ],
)
def test_bad_spellings_are_refused(retriever, spelling, message):
    with pytest.raises(QueryError, match=message):
        retriever.search("dune", reranker=spelling)


@pytest.mark.parametrize("spelling", ["mmr", "mmr:1", "mmr:0.25:40"])
def test_spellings_read_back(spelling):
    reranker = make_reranker(spelling)
    assert make_reranker(str(reranker)) == reranker
    assert replace(reranker, n_candidates=7).n_candidates == 7


class Vectors:
    """Stands in for an index."""

    def __init__(self, vectors):
        self.vectors = vectors


def candidates_of(vectors, query):
    scores = vectors @ query
    order = np.argsort(-scores, kind="stable")
    return Candidates(text="", vector=query, scores=scores[order], positions=order)


def by_definition(candidates, vectors, trade_off, k):
    """Maximal marginal relevance as the paper defines it, in float64."""
    vectors = vectors.astype(np.float64)
    left, picked, scores = list(range(len(candidates.positions))), [], []
    while left and len(picked) < k:

        def marginal(row):
            vector = vectors[candidates.positions[row]]
            similar = max((float(vector @ vectors[candidates.positions[other]]) for other in picked), default=0.0)
            return trade_off * float(candidates.scores[row]) - (1 - trade_off) * similar

        best = max(left, key=marginal)
        scores.append(marginal(best))
        picked.append(best)
        left.remove(best)
    return candidates.positions[picked], scores


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 0.7, 1.0])
def test_mmr_is_that_of_the_paper(trade_off):
    vectors = unit_vectors(60, 16)
    batch = [candidates_of(vectors, query) for query in unit_vectors(5, 16, seed=1)]
    reranker = MaximalMarginalRelevance(trade_off=trade_off)
    for candidates, ranking in zip(batch, reranker.rerank(batch, 20, Vectors(vectors)), strict=True):
        positions, scores = by_definition(candidates, vectors, trade_off, 20)
        assert ranking.positions.tolist() == positions.tolist()
        np.testing.assert_allclose(ranking.scores, scores, atol=1e-5)
        (shorter,) = reranker.rerank([candidates], 7, Vectors(vectors))
        assert shorter.positions.tolist() == ranking.positions[:7].tolist()
        assert np.array_equal(shorter.scores, ranking.scores[:7])


def test_mmr_takes_copies_last(retriever):
    plain = ids_of(retriever, "dune and the very same text", k=10)
    diverse = ids_of(retriever, "dune and the very same text", k=10, reranker="mmr:0.3")
    assert diverse[0] == plain[0]
    copies = {f"d{number}" for number in range(100, 130)}
    assert len(copies & set(plain)) == 10 and len(copies & set(diverse)) == 1


def test_mmr_without_diversity_changes_no_order(retriever):
    for query in WORDS:
        assert ids_of(retriever, query, k=130, reranker="mmr:1") == ids_of(retriever, query, k=130)


def test_reranked_runs_keep_their_order_in_a_file(retriever, tmp_path):
    queries = {word: word for word in ("dune", "spice", "wait")}
    hits = list(retriever.search(queries, k=30, reranker="mmr:0.6"))
    write_run(tmp_path / "a.trec", hits)
    assert read_run(tmp_path / "a.trec") == hits
    for _, of_query in groupby(hits, lambda hit: hit.query_id):
        assert (np.diff(np.float32([hit.score for hit in of_query])) < 0).all()


def test_the_engine_answers_different_k_in_one_batch(index, tiny_query_encoder):
    retriever = Retriever(tiny_query_encoder, index, reranker="mmr:0.5:20")
    level = str(retriever.encoder.full_subnet)
    search = RetrieverSearch(retriever, {level: None})
    queries = [Query(text=text, k=k, doc_ids=None) for text, k in (("dune", 3), ("spice", 25), ("wait", 1))]
    for query, hits in zip(queries, search.search_batch(queries, level), strict=True):
        assert [(hit.doc_id, hit.score) for hit in hits] == hits_of(retriever, query.text, k=query.k)[0]


def test_mmr_diversifies_the_hits_of_real_queries(data, tmp_path, minilm):
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        (tmp_path / "passages.jsonl").write_text("".join(islice(file, 100)))
    with gzip.open(data / "nq" / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        queries = [json.loads(line)["text"] for line in islice(file, 40)]
    index = PassageIndex.build(tmp_path / "passages.jsonl", tmp_path / "index", minilm)
    retriever = Retriever.open(index.path, download=False)

    def similarity(hits):
        vectors = index.vectors[index.positions([doc_id for doc_id, _ in hits])]
        return float((vectors @ vectors.T)[np.triu_indices(len(hits), 1)].mean())

    plain, diverse = (hits_of(retriever, queries, k=10, reranker=spelling) for spelling in (None, "mmr:0.5:50"))
    assert [hits_of(retriever, query, k=10, reranker="mmr:0.5:50")[0] for query in queries] == diverse
    assert np.mean([similarity(hits) for hits in diverse]) < np.mean([similarity(hits) for hits in plain]) - 0.02
    assert [hits[0][0] for hits in diverse] == [hits[0][0] for hits in plain]
