"""`hybrid` in `POST /search`."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from serving_helpers import PROFILE, error_of
from waiting import LONG_DEADLINE_S

from elasticdenser import RetrievalEngine, Retriever
from elasticdenser.index import PassageIndex
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings


@pytest.fixture(scope="module")
def hybrid_client(served_index, retriever, tmp_path_factory):
    passages = [retriever.index.passage_at(position) for position in range(len(retriever.index))]
    path = tmp_path_factory.mktemp("served") / "hybrid"
    passage_encoder = _PassageEncoder(retriever)
    hybrid = Retriever(retriever.encoder, PassageIndex.build(passages, path, passage_encoder, hybrid=True))
    with RetrievalEngine(hybrid, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        settings = ServeSettings(log=False, deadline_s=LONG_DEADLINE_S)
        with TestClient(make_app(engine, hybrid, settings)) as client:
            yield client


class _PassageEncoder:
    """Encodes passages as the retriever's encoder does."""

    def __init__(self, retriever):
        self.fingerprint, self._encoder = retriever.index.manifest.encoder, retriever.encoder
        self.dim = retriever.index.dim

    def encode_windows(self, windows, *, workers=None, report_truncated=None):
        yield from map(self._encoder.encode_passages, windows)


def ids_of(response):
    assert response.status_code == 200, response.text
    return [[hit["doc_id"] for hit in result["hits"]] for result in response.json()["results"]]


@pytest.mark.parametrize(("query", "doc_id"), [("planets", "d1"), ("headers", "d2"), ("Koln", "d3")])
def test_a_request_may_ask_for_words(hybrid_client, query, doc_id):
    response = hybrid_client.post("/search", json={"query": query, "k": 1, "hybrid": 1})
    assert ids_of(response) == [[doc_id]]
    both = hybrid_client.post("/search", json={"queries": [query, "x"], "k": 3, "hybrid": True})
    assert [len(ids) for ids in ids_of(both)] == [3, 3]


def test_without_words_the_hits_are_those_of_meaning(hybrid_client):
    usual = ids_of(hybrid_client.post("/search", json={"query": "headers"}))
    for hybrid in (None, False, 0.0):
        assert ids_of(hybrid_client.post("/search", json={"query": "headers", "hybrid": hybrid})) == usual


@pytest.mark.parametrize("hybrid", [1.5, -1, "yes", []])
def test_wrong_values_are_refused(hybrid_client, hybrid):
    assert error_of(hybrid_client.post("/search", json={"query": "x", "hybrid": hybrid}), 422)["param"] == "hybrid"


def test_an_index_without_words_is_searched_by_meaning(client):
    assert client.post("/search", json={"query": "x", "hybrid": False}).status_code == 200
