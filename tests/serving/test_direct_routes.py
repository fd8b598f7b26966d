"""Routes with a JSON body are answered directly, and their answers are those that FastAPI's way gives."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from serving_helpers import error_of

from elasticdenser.serving.app import ServingApp
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.errors import flat_routes

DIRECT = {"/search", "/highlights", "/v1/embeddings"}


@pytest.fixture
def through_fastapi(client, monkeypatch):
    """A client of the same application whose direct routes FastAPI finds."""
    front = client.app.front
    while not hasattr(front, "_routes"):
        front = front._app
    monkeypatch.setattr(front, "_routes", {})
    return client


@pytest.mark.slow
def test_every_route_with_a_body_is_direct(client):
    described = client.get("/openapi.json").json()["paths"]
    with_body = {path for path, methods in described.items() for each in methods.values() if "requestBody" in each}
    assert with_body == DIRECT
    assert {route.path for route in flat_routes(client.app.routes) if isinstance(route, DirectRoute)} == DIRECT


def test_direct_requests_do_not_reach_fastapi(client, monkeypatch):
    async def fail(*_):
        raise AssertionError("FastAPI was called")

    monkeypatch.setattr(ServingApp.__mro__[1], "__call__", fail)
    assert client.post("/search", json={"query": "dune"}).status_code == 200
    assert client.post("/indexes/default/search", json={"query": "dune"}).status_code == 200
    assert client.post("/search", json={"query": ""}).status_code == 422


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"query": "dune", "k": 2, "with_text": false}', "application/json", 200),
        (b'{"query": "dune"}', "application/problem+json; charset=utf-8", 200),
        (b'{"query": "dune"}', "text/plain", 415),
        (b"", "application/json", 422),
        (b"", "text/plain", 415),
        (b"[1, 2]", "application/json", 422),
        (b"3", "application/json", 422),
        (b'{"query": NaN}', "application/json", 422),
        (b'{"query": "a"', "application/json", 400),
        (b'{"query": "\xff"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"query": "a", "k": ' + b"9" * 5000 + b"}", "application/json", 400),
    ],
)
def test_both_ways_give_the_same_answer(client, content, content_type, status, request):
    headers = {"Content-Type": content_type}
    direct = client.post("/search", content=content, headers=headers)
    described = request.getfixturevalue("through_fastapi").post("/search", content=content, headers=headers)
    assert direct.status_code == described.status_code == status
    assert direct.headers["content-type"] == described.headers["content-type"] == "application/json"
    if status != 200:
        assert error_of(direct, status) == error_of(described, status)
    else:
        hits = [json.loads(response.content)["results"][0]["hits"] for response in (direct, described)]
        assert hits[0] == hits[1]


def test_other_methods_and_unknown_paths_get_the_usual_errors(client):
    assert error_of(client.get("/search"), 405)["message"] == "got GET; expected POST"
    assert "nothing at '/searches'" in error_of(client.post("/searches", json={}), 404)["message"]


def test_an_application_without_a_lifespan_answers_too(client):
    again = TestClient(client.app)  # each of its requests has an event loop of its own
    for _ in range(2):
        assert again.post("/search", json={"query": "dune"}).status_code == 200
