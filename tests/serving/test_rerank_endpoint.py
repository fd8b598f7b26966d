"""`/v1/rerank`, TEI's `/rerank`, and reranking of searches: order, scores, documents, limits and errors."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_helpers import CALIBRATED, error_of, search
from waiting import LONG_DEADLINE_S

from elasticdenser.models.calibration import Calibration
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

QUERY = "who wrote dune"
TEXTS = ["Dune is a novel by Frank Herbert.", "", "read a csv file", "The sand of the dune moves. " * 50, "naïve ☃"]


@pytest.fixture
def ranker(reranking_retriever):
    return reranking_retriever.ranker


@pytest.fixture
def make_ranking_client(reranking_retriever, reranking_engine):
    def make(**settings):
        settings = ServeSettings(**{"log": False, "deadline_s": LONG_DEADLINE_S, **settings})
        return TestClient(make_app(reranking_engine, reranking_retriever, settings))

    return make


@pytest.fixture
def ranking_client(make_ranking_client):
    return make_ranking_client()


def rerank(client, **body):
    return client.post("/v1/rerank", json={"query": QUERY, "documents": TEXTS, **body})


def rerank_as_tei(client, **body):
    return client.post("/rerank", json={"query": QUERY, "texts": TEXTS, **body})


def results_of(response):
    assert response.status_code == 200, response.text
    return response.json()["results"]


def test_documents_come_in_the_order_of_the_ranker(ranking_client, ranker):
    scores = ranker.score(QUERY, TEXTS)
    results = results_of(rerank(ranking_client, raw_scores=True))
    assert [row["index"] for row in results] == np.argsort(-scores, kind="stable").tolist()
    assert [row["relevance_score"] for row in results] == sorted(scores.tolist(), reverse=True)
    assert all(set(row) == {"index", "relevance_score"} for row in results)
    assert results_of(rerank(ranking_client, raw_scores=True, top_n=2)) == results[:2]
    assert results_of(rerank(ranking_client, raw_scores=True, top_n=100)) == results


def test_scores_are_calibrated_probabilities_in_the_same_order(ranking_client, ranker):
    raw = results_of(rerank(ranking_client, raw_scores=True))
    for model, calibration in (("my-ranker", CALIBRATED["w1-d2"]), ("my-ranker/w0.5-d1", Calibration())):
        results = results_of(rerank(ranking_client, model=model))
        logits = np.sort(ranker.score(QUERY, TEXTS, model.partition("/")[2] or None))[::-1]
        expected = 1 / (1 + np.exp(-(calibration.scale * logits.astype(float) + calibration.offset)))
        assert [row["relevance_score"] for row in results] == pytest.approx(expected.tolist())
        assert all(0 < row["relevance_score"] < 1 for row in results)
    assert [row["index"] for row in results_of(rerank(ranking_client))] == [row["index"] for row in raw]


def test_a_subnet_is_part_of_the_model_name(ranking_client, ranker):
    response = rerank(ranking_client, model="my-ranker/w0.5-d1", raw_scores=True)
    scores = ranker.score(QUERY, TEXTS, "w0.5-d1").tolist()
    assert [row["relevance_score"] for row in results_of(response)] == sorted(scores, reverse=True)
    assert response.json()["model"] == "my-ranker/w0.5-d1"
    error = error_of(rerank(ranking_client, model="rerank-v3.5"), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "expected my-ranker, or a subnet of it such as my-ranker/w" in error["message"]


def test_documents_may_be_objects_and_are_returned_on_request(ranking_client):
    documents = [{"text": TEXTS[0], "url": "https://example.org", "year": 1965}, TEXTS[2]]
    results = results_of(rerank(ranking_client, documents=documents, return_documents=True))
    as_texts = results_of(rerank(ranking_client, documents=[TEXTS[0], TEXTS[2]]))
    assert [(row["index"], row["relevance_score"]) for row in results] == [tuple(row.values()) for row in as_texts]
    returned = {row["index"]: row["document"] for row in results}
    assert returned == {0: documents[0], 1: {"text": TEXTS[2]}}


def test_the_response_has_the_usage_of_jina_and_of_cohere(ranking_client, ranker):
    content = rerank(ranking_client).json()
    n_tokens = sum(map(len, ranker.pairs(QUERY, TEXTS)))
    assert content["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    assert content["meta"] == {"api_version": {"version": "1"}, "tokens": {"input_tokens": n_tokens}}
    assert content["model"] == "my-ranker" and content["id"]
    metrics = ranking_client.get("/metrics").text
    (line,) = (line for line in metrics.splitlines() if line.startswith("elasticdenser_reranked_tokens_total"))
    assert float(line.split()[1]) >= n_tokens


def test_as_many_documents_are_taken_as_cohere_takes(ranking_client, ranker):
    results = results_of(rerank(ranking_client, documents=["csv", "dune"] * 500, raw_scores=True))
    csv, dune = ranker.score(QUERY, ["csv", "dune"]).tolist()
    first, second = (0, 1) if csv > dune else (1, 0)
    assert [row["index"] for row in results] == [*range(first, 1000, 2), *range(second, 1000, 2)]
    assert {row["relevance_score"] for row in results} == {csv, dune}


def test_a_long_document_is_cut_and_the_others_are_not(ranking_client, ranker):
    long = "word " * 50_000
    results = results_of(rerank(ranking_client, documents=["dune", long], raw_scores=True))
    scores = ranker.score(QUERY, ["dune", long]).tolist()
    assert {row["index"]: row["relevance_score"] for row in results} == dict(enumerate(scores))
    error = error_of(rerank_as_tei(ranking_client, texts=["dune", long], truncate=False), 422)
    assert error["param"] == "texts[1]" and "it reaches the ranker's limit of 48 tokens" in error["message"]
    assert rerank_as_tei(ranking_client, texts=["dune"], truncate=False).status_code == 200


def test_the_form_of_text_embeddings_inference(ranking_client, ranker):
    scores = ranker.score(QUERY, TEXTS).tolist()
    ranks = rerank_as_tei(ranking_client, raw_scores=True, return_text=True, truncate=True).json()
    expected = [{"index": index, "score": scores[index], "text": TEXTS[index]} for index in range(len(TEXTS))]
    assert ranks == sorted(expected, key=lambda rank: -rank["score"])
    probabilities = rerank_as_tei(ranking_client, truncation_direction="Right").json()
    assert [rank["index"] for rank in probabilities] == [rank["index"] for rank in ranks]
    of_cohere = results_of(rerank(ranking_client))
    assert [rank["score"] for rank in probabilities] == [row["relevance_score"] for row in of_cohere]
    assert all(set(rank) == {"index", "score"} for rank in probabilities)


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"documents": []}, "documents: got an empty list; expected at least 1", "documents"),
        ({"documents": "dune"}, "documents: got 'dune'; expected a list", "documents"),
        ({"documents": ["a"] * 1001}, "got a list of 1,001; expected at most 1,000", "documents"),
        ({"documents": ["a", 1]}, "got 1; expected text, or an object with a field text", "documents[1]"),
        ({"documents": ["a", {"title": "b"}]}, "documents[1].text is missing", "documents[1].text"),
        ({"documents": ["a", {"text": 3}]}, "documents[1].text: got 3; expected text", "documents[1].text"),
        ({"documents": [None]}, "got null; expected text, or an object with a field text", "documents[0]"),
        ({"query": " "}, "query: got ' '; expected text with", "query"),
        ({"query": "a" * 10_001}, "got 10,001 characters; expected at most 10,000", "query"),
        ({"query": 3}, "query: got 3; expected text", "query"),
        ({"top_n": 0}, "top_n: got 0; expected a number of at least 1", "top_n"),
        ({"return_documents": 1}, "return_documents: got 1; expected true or false", "return_documents"),
        ({"colour": "red"}, "unknown field 'colour'", "colour"),
    ],
)
def test_bad_input_is_rejected_with_the_name_of_its_field(ranking_client, fields, message, param):
    error = error_of(rerank(ranking_client, **fields), 422)
    assert message in error["message"] and error["param"] == param


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"texts": []}, "texts: got an empty list"),
        ({"texts": [{"text": "a"}]}, 'texts[0]: got {"text": "a"}; expected text'),
        ({"truncation_direction": "Left"}, "expected 'right' or 'Right'"),
        ({"top_n": 3}, "unknown field 'top_n'"),
    ],
)
def test_bad_input_in_the_form_of_tei_is_rejected(ranking_client, fields, message):
    assert message in error_of(rerank_as_tei(ranking_client, **fields), 422)["message"]


def test_a_document_that_is_not_unicode_is_rejected(ranking_client):
    body = '{"query": "dune", "documents": ["a", "\\ud800"]}'
    response = ranking_client.post("/v1/rerank", content=body, headers={"Content-Type": "application/json"})
    assert "text number 2 is '\\ud800', which holds bytes that are not UTF-8" in error_of(response, 422)["message"]


def test_a_document_that_is_no_json_is_rejected(ranking_client):
    body = '{"query": "dune", "documents": [{"text": "a", "year": NaN}], "return_documents": true}'
    response = ranking_client.post("/v1/rerank", content=body, headers={"Content-Type": "application/json"})
    assert "got NaN; expected a finite number" in error_of(response, 422)["message"]


def test_null_is_the_default_of_every_field_that_has_one(ranking_client):
    nulls = dict.fromkeys(("model", "top_n", "return_documents", "raw_scores", "max_tokens_per_doc"))
    assert results_of(rerank(ranking_client, **nulls)) == results_of(rerank(ranking_client))


def test_too_much_is_rejected(make_ranking_client):
    client = make_ranking_client(max_body_bytes=1000, max_encoding=1)
    error_of(rerank(client, documents=["a" * 1000]), 413)
    client.app.state.server.n_encoding = 1
    response = rerank(client, documents=["a"])
    assert "waiting" in error_of(response, 429)["message"] and int(response.headers["retry-after"]) >= 1


def test_the_key_is_needed(make_ranking_client):
    client = make_ranking_client(api_key="s3cret")
    for path, body in (("/v1/rerank", {"documents": ["a"]}), ("/rerank", {"texts": ["a"]})):
        error_of(client.post(path, json={"query": "a", **body}), 401)
        key = {"Authorization": "Bearer s3cret"}
        assert client.post(path, json={"query": "a", **body}, headers=key).status_code == 200


def test_without_a_ranker_the_paths_say_so(client):
    for response in (rerank(client), rerank_as_tei(client)):
        error = error_of(response, 404)
        assert error["message"] == "this server has no ranker: start it with serve --ranker FOLDER"
    assert not any("rerank" in path for path in client.get("/openapi.json").json()["paths"])


@pytest.mark.slow
def test_with_a_ranker_the_paths_are_described(ranking_client, ranker):
    description = ranking_client.get("/openapi.json").json()
    assert {"/v1/rerank", "/rerank"} <= set(description["paths"])
    names = ["my-ranker", *(f"my-ranker/{subnet}" for subnet in ranker.subnets)]
    model = description["components"]["schemas"]["RerankRequest"]["properties"]["model"]
    assert model["anyOf"][0]["enum"] == names
    models = [model["id"] for model in ranking_client.get("/v1/models").json()["data"]]
    assert models[-len(names) :] == names and models[0] == ranking_client.app.state.service.model
    assert ranking_client.get("/v1/models/my-ranker/w1-d2").json()["id"] == "my-ranker/w1-d2"
    page = ranking_client.get("/docs").text
    for path in ("/v1/rerank", "/rerank"):
        assert f"<code>POST {path}</code></h2>" in page
        content = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert ranking_client.post(path, json=content["example"]).status_code == 200


def test_a_search_is_reranked_unless_it_does_not_want_that(ranking_client, reranking_retriever):
    (reranked,) = search(ranking_client, query="desert planet").json()["results"]
    (plain,) = search(ranking_client, query="desert planet", rerank=False).json()["results"]
    assert reranked["level"] == plain["level"] == "w1-d2+3:w0.5-d1"
    assert reranked["reranked"] == [{"candidates": 3, "subnet": "w0.5-d1"}] and plain["reranked"] == []
    for result, reranker in ((reranked, "3:w0.5-d1"), (plain, "none")):
        expected = reranking_retriever.search("desert planet", reranker=reranker)
        assert [(hit["doc_id"], hit["score"]) for hit in result["hits"]] == [(hit[1], hit[2]) for hit in expected]
    (at_minimum,) = search(ranking_client, query="dune", minimum_level="w1-d2+3:w0.5-d1").json()["results"]
    assert at_minimum["level"] == "w1-d2+3:w0.5-d1"
    error = error_of(search(ranking_client, query="dune", rerank="no"), 422)
    assert error["message"] == "rerank: got 'no'; expected true or false"
