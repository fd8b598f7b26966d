"""Filters in `Retriever.search`: with documents, chunks, rerankers and every subnet of the call."""

from __future__ import annotations

import pytest

from elasticdenser import PassageIndex, Retriever
from elasticdenser.datasets import Passage
from elasticdenser.errors import QueryError

WORDS = ["dune", "spice", "csv", "thread", "desert", "python", "file", "wait", "novel", "water"]


@pytest.fixture(scope="module")
def retriever(tmp_path_factory, tiny_encoder, tiny_query_encoder):
    passages = [Passage(f"d{n}", f"{a} and {b}", metadata={"n": n}) for n, (a, b) in
                enumerate((a, b) for a in WORDS for b in WORDS)]  # fmt: skip
    path = tmp_path_factory.mktemp("filters") / "index"
    return Retriever(tiny_query_encoder, PassageIndex.build(passages, path, tiny_encoder, workers=1))


@pytest.fixture(scope="module")
def chunked(tmp_path_factory, tiny_encoder, tiny_query_encoder):
    passages = [Passage(f"d{n}", f"The {word} is here. " * 12, metadata={"n": n}) for n, word in enumerate(WORDS)]
    path = tmp_path_factory.mktemp("filters") / "chunked"
    return Retriever(tiny_query_encoder, PassageIndex.build(passages, path, tiny_encoder, workers=1, chunk="40"))


def ids(hits):
    return [hit.doc_id for hit in hits]


def test_hits_meet_the_filter_in_their_order(retriever):
    everything = ids(retriever.search("dune and spice", k=100))
    expected = [doc_id for doc_id in everything if int(doc_id[1:]) < 30][:10]
    for filter in ("n < 30", {"field": "n", "operator": "<", "value": 30}):
        assert ids(retriever.search("dune and spice", k=10, filter=filter)) == expected
    assert ids(retriever.search(["dune", "csv"] * 20, k=5, filter="n in (3, 4)")).count("d3") == 40


def test_filters_and_documents_both_hold(retriever):
    assert ids(retriever.search("dune", doc_ids=["d1", "d50"], filter="n < 30")) == ["d1"]
    assert ids(retriever.search("dune", filter="n > 1000")) == []


def test_a_reranker_sees_matching_candidates_only(retriever):
    hits = ids(retriever.search("dune and spice", k=5, filter="n < 8", reranker="mmr:0.5"))
    assert len(hits) == 5 and all(int(doc_id[1:]) < 8 for doc_id in hits)


def test_documents_of_chunks_are_filtered(chunked):
    hits = list(chunked.search("water", k=4, filter="n >= 7", by_document=True))
    assert sorted(ids(hits)) == ["d7", "d8", "d9"]
    assert [chunked.index.metadata_of(hit.passage_id)["n"] for hit in hits] == [int(hit.doc_id[1:]) for hit in hits]


def test_the_call_itself_refuses_a_faulty_filter(retriever):
    with pytest.raises(QueryError, match="filter, position 1: got the field 'm'"):
        retriever.search(iter(["dune"]), filter="m = 1")
