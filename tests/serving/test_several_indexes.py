"""One server with several indexes, each with all paths below its name."""

from __future__ import annotations

import pytest
from serving_helpers import PROFILE, error_of
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError
from elasticdenser.serving.app import EngineOfIndex, make_app_of_indexes
from elasticdenser.serving.settings import ServeSettings

SETTINGS = {"log": False, "deadline_s": LONG_DEADLINE_S}
KEY = {"Authorization": "Bearer s3cret"}


@pytest.fixture(scope="module")
def other_model(tiny_model, tmp_path_factory):
    """Another elastic encoder, in a folder with another name."""
    from elastic_models import write_elastic_encoder

    return write_elastic_encoder(tmp_path_factory.mktemp("other") / "other-model", tiny_model, seed=9)


@pytest.fixture(scope="module")
def other_retriever(other_model, tmp_path_factory):
    encoder = PassageEncoder.from_pretrained(str(other_model), dtype="float32", device="cpu")
    passages = [{"_id": "w1", "text": "water"}, {"_id": "w2", "text": "fire"}]
    index = PassageIndex.build(passages, tmp_path_factory.mktemp("several") / "wiki", encoder, workers=1)
    return Retriever.open(index.path, encoder=str(other_model), device="cpu", download=False)


@pytest.fixture(scope="module")
def served(retriever, other_retriever):
    """Two indexes; the second engine has one level only."""
    one_level = Profile(levels=PROFILE.levels[:1])
    options = {"slo_s": LONG_DEADLINE_S, "workers": 1}
    first, second = (
        RetrievalEngine(retriever, PROFILE, **options),
        RetrievalEngine(other_retriever, one_level, **options),
    )
    with first, second:
        yield {
            "docs": EngineOfIndex(engine=first, retriever=retriever),
            "wiki": EngineOfIndex(engine=second, retriever=other_retriever),
        }


@pytest.fixture(scope="module")
def client(served):
    from fastapi.testclient import TestClient

    with TestClient(make_app_of_indexes(served, ServeSettings(**SETTINGS, api_key="s3cret")), headers=KEY) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def ids(response) -> set[str]:
    assert response.status_code == 200, response.text
    return {hit["doc_id"] for hit in response.json()["results"][0]["hits"]}


def test_each_index_is_searched_by_its_name_and_the_first_one_without(client):
    body = {"query": "water"}
    assert ids(client.post("/search", json=body)) == {"d1", "d2", "d3"}
    assert ids(client.post("/indexes/docs/search", json=body)) == {"d1", "d2", "d3"}
    assert ids(client.post("/indexes/wiki/search", json=body)) == {"w1", "w2"}
    error = error_of(client.post("/indexes/wiki/search", json={**body, "minimum_level": "level0"}), 422)
    assert error["param"] == "minimum_level"
    assert client.get("/indexes/wiki/live").json()["title"] == "wiki"


def test_the_list_names_all_indexes(client, retriever, other_retriever):
    docs, wiki = client.get("/indexes").json()["indexes"]
    assert docs == {
        "name": "docs",
        "passages": 3,
        "generation": retriever.index.generation,
        "model": "tiny",
        "default": True,
        "writable": False,
        "ready": True,
    }
    assert (wiki["name"], wiki["passages"], wiki["model"], wiki["default"]) == ("wiki", 2, "other-model", False)


@pytest.mark.slow
def test_a_sharded_index_is_not_writable(served, tiny_model, tmp_path):
    from fastapi.testclient import TestClient

    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu")
    (tmp_path / "passages.jsonl").write_text('{"_id": "a", "text": "water"}\n{"_id": "b", "text": "fire"}\n')
    PassageIndex.build(str(tmp_path / "passages.jsonl"), tmp_path / "sharded", encoder, workers=1, shards=2)
    sharded = Retriever.open(tmp_path / "sharded", encoder=str(tiny_model), device="cpu", download=False)
    with RetrievalEngine(sharded, Profile(levels=PROFILE.levels[:1]), slo_s=LONG_DEADLINE_S, workers=1) as engine:
        indexes = {"docs": served["docs"], "sharded": EngineOfIndex(engine=engine, retriever=sharded)}
        settings = ServeSettings(**SETTINGS, write_key="wr1te")
        with TestClient(make_app_of_indexes(indexes, settings)) as client:
            listed = client.get("/indexes").json()["indexes"]
    assert [(index["name"], index["writable"]) for index in listed] == [("docs", True), ("sharded", False)]


@pytest.mark.parametrize("path", ["/indexes/none/search", "/indexes/none", "/indexes/docs."])
def test_a_missing_index_is_named(client, path):
    error = error_of(client.post(path, json={"query": "x"}), 404)
    assert "only docs, wiki: GET /indexes lists all" in error["message"] and error["code"] == "index_not_found"


def test_nothing_else_is_found_below_a_name(client):
    assert "its page is at /indexes/wiki/" in error_of(client.get("/indexes/wiki"), 404)["message"]
    assert client.get("/indexes/wiki/").headers["content-type"].startswith("text/html")
    for path in ("/indexes/wiki/none", "/indexes/wiki/indexes", "/indexes/wiki/indexes/docs/search"):
        assert "there is nothing at" in error_of(client.post(path, json={"query": "x"}), 404)["message"]


def test_the_key_is_asked_for_below_each_name(client):
    for prefix in ("", "/indexes/docs", "/indexes/wiki"):
        response = client.post(f"{prefix}/search", json={"query": "x"}, headers={"Authorization": "Bearer no"})
        assert "no valid API key" in error_of(response, 401)["message"]
        assert client.get(f"{prefix}/healthz", headers={"Authorization": ""}).status_code == 200
    for path in ("/indexes", "/indexes/none/search"):
        error_of(client.get(path, headers={"Authorization": ""}), 401)
    response = client.post("/indexes/wiki/passages", json={})
    assert error_of(response, 403)["code"] == "read_only"


def test_the_root_offers_the_encoders_of_all_indexes(client, other_retriever):
    models = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert models[0] == "tiny" and "other-model" in models
    own = [model["id"] for model in client.get("/indexes/wiki/v1/models").json()["data"]]
    assert own[0] == "other-model" and "tiny" not in own
    body = {"input": "water", "model": "other-model"}
    vector = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert vector == pytest.approx(other_retriever.encoder.encode(["water"])[0].tolist(), abs=1e-6)
    assert client.post("/indexes/wiki/v1/embeddings", json=body).status_code == 200
    error_of(client.post("/indexes/docs/v1/embeddings", json=body), 404)


def test_metrics_tell_the_indexes_apart(client):
    before = client.get("/metrics").text
    client.post("/indexes/wiki/search", json={"query": "metrics"})
    after = client.get("/indexes/docs/metrics").text

    def value(text: str, name: str, labels: str) -> float:
        lines = [line for line in text.splitlines() if line.startswith(f"elasticdenser_{name}{{{labels}}}")]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0

    request = 'method="POST",path="/search",status="200"'
    for name, labels in (("http_requests_total", f",{request}"), ("queries_total", ',outcome="in_time"')):
        for index, more in (("docs", 0), ("wiki", 1)):
            labels_of_index = f'index="{index}"{labels}'
            assert value(after, name, labels_of_index) == value(before, name, labels_of_index) + more


@pytest.mark.slow
def test_each_index_describes_itself(client):
    description = client.get("/indexes/wiki/openapi.json").json()
    assert description["servers"] == [{"url": "/indexes/wiki"}]
    assert description["components"]["schemas"]["SearchRequest"]["properties"]["minimum_level"]["anyOf"][0]["enum"] == [
        "w1-d2"
    ]
    assert "/indexes" in client.get("/openapi.json").json()["paths"]
    assert "localhost:8000/indexes/wiki/search" in client.get("/indexes/wiki/docs").text


def test_the_server_is_ready_when_all_indexes_are(client):
    service = client.app.state.services["wiki"]
    service.is_ready = False
    try:
        assert "index wiki: the server is warming up" in error_of(client.get("/readyz"), 503)["message"]
        assert client.get("/indexes/docs/readyz").status_code == 200
        error_of(client.get("/indexes/wiki/readyz"), 503)
    finally:
        service.is_ready = True


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", ".hidden", "x" * 65])
def test_a_name_must_be_a_part_of_a_path(served, name):
    with pytest.raises(QueryError, match="as the name of an index"):
        make_app_of_indexes({name: served["docs"]}, ServeSettings(log=False))
