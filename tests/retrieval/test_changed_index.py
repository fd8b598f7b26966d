"""A retriever of an index that was changed gives the hits of an index that was built anew."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from elasticdenser import PassageIndex, Retriever
from elasticdenser.datasets import Passage
from elasticdenser.engine.profiling.query_sample import sample_queries, texts_by_length
from elasticdenser.errors import QueryError
from elasticdenser.index import rebuild

WORDS = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
QUERIES = ["dune and spice", "python", "water"]


def document(number, seed=0):
    rng = np.random.default_rng([number, seed])
    sentences = (" ".join(rng.choice(WORDS, 3)).capitalize() + "." for _ in range(1 + number * number % 17))
    metadata = {"n": number % 3} if number % 4 else None
    return Passage(doc_id=f"d{number}", text=" ".join(sentences), metadata=metadata)


@pytest.fixture(scope="module", params=[None, "40"], ids=["passages", "chunks"])
def retrievers(request, tmp_path_factory, tiny_encoder, tiny_query_encoder):
    """Retrievers of an index of several segments, and of one that was built of the same documents."""
    folder = tmp_path_factory.mktemp("index")
    old = [document(number) for number in range(25)]
    options = {"chunk": request.param, "workers": 1, "hybrid": True}
    index = PassageIndex.build(old, folder / "living", tiny_encoder, factory="HNSW8", **options)
    index = index.add([document(3, 1), document(30), document(31)], encoder=tiny_encoder).delete(["d0", "d7", "d30"])
    index = index.add([document(32), document(4, 1)], encoder=tiny_encoder)
    assert len(index.contents.segments) == 3
    left = [passage for number, passage in enumerate(old) if number not in (0, 3, 4, 7)]
    new = [document(3, 1), document(31), document(32), document(4, 1)]
    fresh = PassageIndex.build([*left, *new], folder / "fresh", tiny_encoder, **options)
    assert list(index.doc_ids) == list(fresh.doc_ids)
    return Retriever(tiny_query_encoder, index), Retriever(tiny_query_encoder, fresh)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 1000])
@pytest.mark.parametrize(
    "options",
    [
        {"exact": True},
        {},
        {"doc_ids": ["d3", "d31", "d9", "d32"]},
        {"reranker": "mmr:0.7"},
        {"by_document": True},
        {"filter": "n = 1"},
        {"hybrid": 0.3},
        {"hybrid": True, "filter": "n < 2", "by_document": True},
    ],
    ids=str,
)
def test_hits_are_those_of_a_fresh_index(retrievers, k, options):
    living, fresh = retrievers
    if options.get("by_document") and living.index.manifest.chunking is None:
        pytest.skip("needs chunks")
    hits, expected = (list(retriever.search(QUERIES, k, **options)) for retriever in (living, fresh))
    assert [(hit.query_id, hit.doc_id) for hit in hits] == [(hit.query_id, hit.doc_id) for hit in expected]
    # The encoder computes the vectors of other batches with other rounding errors.
    assert np.allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-5)


def test_snippets_are_those_of_a_fresh_index(retrievers):
    living, fresh = retrievers
    snippets, expected = (
        retriever.snippets("dune and spice", list(retriever.search("dune and spice", 5, hybrid=True)))
        for retriever in (living, fresh)
    )
    assert [(s.start, s.end, s.words) for s in snippets] == [(s.start, s.end, s.words) for s in expected]


def test_a_retriever_that_searches_by_words_is_not_refreshed_without_them(tmp_path, tiny_encoder, tiny_query_encoder):
    index = PassageIndex.build([document(n) for n in range(5)], tmp_path / "index", tiny_encoder, hybrid=True)
    retriever = Retriever(tiny_query_encoder, index, hybrid=True)
    index.add([document(7)], encoder=tiny_encoder)
    retriever = retriever.refresh()
    assert retriever.index.lexical.n_passages == 6
    rebuild(index.path, hybrid=False)
    with pytest.raises(QueryError, match="cannot be searched by words"):
        retriever.refresh()
    assert len(list(retriever.search("dune", 3))) == 3


def test_queries_are_sampled_from_what_is_not_deleted(retrievers):
    living, fresh = retrievers
    assert sample_queries(living, 20) == sample_queries(fresh, 20)
    assert texts_by_length(living, QUERIES, 20) == texts_by_length(fresh, QUERIES, 20)


def test_a_refreshed_retriever_searches_the_newest_generation(tmp_path, tiny_model, tiny_encoder):
    PassageIndex.build([document(number) for number in range(5)], tmp_path / "index", tiny_encoder, workers=1)
    retriever = Retriever.open(tmp_path / "index", download=False)
    assert retriever.refresh() is retriever
    retriever.index.add([Passage(doc_id="new", text="water")], encoder=tiny_encoder)
    assert "new" not in {hit.doc_id for hit in retriever.search("water", 10)}
    for refreshed in (retriever.refresh(), pickle.loads(pickle.dumps(retriever))):
        assert next(refreshed.search("water")).doc_id == "new"
    assert retriever.refresh().encoder is retriever.encoder


def test_an_emptied_index_has_no_hits(retrievers, tmp_path):
    index = retrievers[1].index.snapshot(tmp_path / "empty")
    documents = dict.fromkeys(index.document_of(doc_id) for doc_id in index.doc_ids)
    empty = Retriever(retrievers[1].encoder, index.delete(documents))
    options = [{}, {"exact": True}, {"reranker": "mmr"}, {"doc_ids": []}]
    if index.manifest.chunking is not None:
        options.append({"by_document": True})
    assert [list(empty.search(QUERIES, 5, **own)) for own in options] == [[]] * len(options)
    assert sample_queries(empty, 5) == ["a query"]
