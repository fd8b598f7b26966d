"""Ranking of documents by their best chunks, against a ranking of all chunks."""

from __future__ import annotations

import pickle
from itertools import groupby

import numpy as np
import pytest

from elasticdenser import Hit, PassageIndex, Retriever
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.errors import QueryError

WORDS = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
QUERIES = ["dune and spice", "python", "water"]


def document(number):
    rng = np.random.default_rng(number)
    sentences = (" ".join(rng.choice(WORDS, 3)).capitalize() + "." for _ in range(1 + number * number % 23))
    return Passage(doc_id=f"d{number}", text=" ".join(sentences))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory, tiny_encoder, tiny_query_encoder):
    corpus = Corpus.from_passages("documents", lambda: map(document, range(25)))
    path = tmp_path_factory.mktemp("index") / "chunks"
    index = PassageIndex.build(corpus, path, tiny_encoder, chunk="40", factory="HNSW4", workers=1)
    assert len(index) > 100
    return Retriever(tiny_query_encoder, index)


def best_chunks(hits):
    """The first hit of each document."""
    first = {}
    for hit in hits:
        first.setdefault(hit.doc_id.rpartition("#")[0], hit)
    return [(doc_id, hit.doc_id, pytest.approx(hit.score, abs=1e-6)) for doc_id, hit in first.items()]


@pytest.mark.parametrize("k", [1, 5, 25, 1000])
@pytest.mark.parametrize("options", [{}, {"exact": True}, {"doc_ids": ["d4", "d9", "d21#1", "d21#0", "d1"]}])
def test_each_document_has_its_best_chunk(retriever, k, options):
    hits = list(retriever.search(QUERIES, k, by_document=True, **options))
    all_hits = retriever.search(QUERIES, 10_000, **options)
    for (_, of_query), (_, of_all) in zip(
        groupby(hits, key=lambda hit: hit.query_id), groupby(all_hits, key=lambda hit: hit.query_id), strict=True
    ):
        expected = best_chunks(of_all)[:k]
        assert [(hit.doc_id, hit.passage_id, hit.score) for hit in of_query] == expected
        assert len(expected) == min(k, 4 if "doc_ids" in options else 25)


@pytest.mark.slow
def test_few_documents_with_many_chunks_hide_none(tmp_path, tiny_encoder, tiny_query_encoder):
    """The best documents have far more chunks than are retrieved at first."""
    texts = [*["Dune dune. " * 400] * 3, *[f"Water {word}." for word in WORDS]]
    corpus = Corpus.from_passages("x", lambda: [Passage(doc_id=str(n), text=text) for n, text in enumerate(texts)])
    index = PassageIndex.build(corpus, tmp_path / "i", tiny_encoder, chunk="20", workers=1)
    query = index.passage("0#0").text
    hits = list(Retriever(tiny_query_encoder, index).search(query, 6, by_document=True))
    assert len({hit.doc_id for hit in hits}) == 6 and {hit.doc_id for hit in hits} >= {"0", "1", "2"}


def test_reranked_documents(retriever):
    hits = list(retriever.search(QUERIES, 5, by_document=True, reranker="mmr:0.5"))
    assert len(hits) == 15
    for _, of_query in groupby(hits, key=lambda hit: hit.query_id):
        of_query = list(of_query)
        assert len({hit.doc_id for hit in of_query}) == 5
        assert all(hit.passage_id.startswith(f"{hit.doc_id}#") for hit in of_query)
        assert [hit.score for hit in of_query] == sorted((hit.score for hit in of_query), reverse=True)


def test_hits_name_passage_and_document(retriever):
    chunk = next(retriever.search("dune"))
    assert chunk.passage_id == chunk.doc_id and "#" in chunk.doc_id
    best = next(retriever.search("dune", by_document=True))
    assert (best.doc_id, best.passage_id) == (retriever.index.document_of(chunk.doc_id), chunk.doc_id)
    assert retriever.index.passage(best.passage_id).text in document(int(best.doc_id[1:])).text
    copy = pickle.loads(pickle.dumps(best))
    assert (copy, copy.passage_id, copy.subnet) == (best, best.passage_id, best.subnet)
    assert best._replace(score=1.0).passage_id == best.passage_id
    assert Hit("q", "d", 1.0, best.subnet).passage_id == "d"


def test_an_index_without_chunks_is_refused(tmp_path, tiny_encoder, tiny_query_encoder):
    corpus = Corpus.from_passages("x", lambda: [Passage(doc_id="a#0", text="dune")])
    index = PassageIndex.build(corpus, tmp_path / "i", tiny_encoder, workers=1)
    retriever = Retriever(tiny_query_encoder, index)
    with pytest.raises(QueryError, match=r"got by_document .* expected an index built with --chunk: leave it out"):
        retriever.search("dune", by_document=True)
    assert index.document_of("a#0") == "a#0" and next(retriever.search("dune")).doc_id == "a#0"
