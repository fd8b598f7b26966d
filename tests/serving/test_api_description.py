"""/openapi.json describes what the server does; schemathesis searches for requests where it does not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import pytest
from kernel_helpers import needs_fast_path
from serving_helpers import PROFILE, live_server
from waiting import LONG_DEADLINE_S

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

# schemathesis expects 4xx for an invalid list, and an invalid list may be too large a body, hence 413.
_CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "413", "415", "422", "429"]

# No schema can say which fields the index has, or what a filter written as text may say.
[[operations]]
include-path = "/search"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "404", "422", "429"]

# No schema can say which documents have text, or that all of them or none have vectors.
[[operations]]
include-path = "/passages"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "422"]

# No schema can say which token ids the model's tokenizer produces.
[[operations]]
include-path = "/v1/embeddings"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "422", "429"]
"""


def test_every_path_is_described(client):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {
        *("/search", "/highlights", "/v1/embeddings", "/v1/models", "/v1/models/{model}"),
        *("/", "/docs", "/healthz", "/readyz", "/metrics", "/live", "/indexes"),
    }
    schemas = description["components"]["schemas"]
    levels = schemas["SearchRequest"]["properties"]["minimum_level"]["anyOf"][0]["enum"]
    assert levels == ["w1-d2", "level0"]
    for body in ("SearchRequest", "BatchSearchRequest"):
        quality = schemas[body]["properties"]["minimum_quality"]
        assert quality["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}
    assert schemas["EmbeddingsRequest"]["properties"]["model"]["enum"][0] == client.app.state.service.model
    responses = description["paths"]["/search"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "404", "408", "413", "415", "421", "422", "429", "500", "503"}
    assert "Retry-After" in responses["429"]["headers"]


def test_null_is_described_where_it_is_taken(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SearchRequest", "BatchSearchRequest", "EmbeddingsRequest", "HighlightsRequest"):
        for field, schema in schemas[name]["properties"].items():
            is_nullable = {"type": "null"} in schema.get("anyOf", [])
            assert is_nullable == (field not in schemas[name]["required"]), (name, field)
    body = {"query": "csv", "k": None, "deadline_ms": None, "priority": None, "with_text": None, "doc_ids": None}
    assert client.post("/search", json=body).json()["results"][0]["hits"][0]["text"]


def test_the_page_of_the_api_describes_everything_and_loads_nothing(make_client):
    client = make_client(api_key="s3cret")
    response = client.get("/docs")
    page, description = response.text, client.get("/openapi.json").json()
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    assert "script-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"<script|<img|<iframe|@import|url\(|(?:src|href)=[\"']?(?:https?:)?//", page)
    for path, methods in description["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code></h2>" in page
    for name, schema in description["components"]["schemas"].items():
        assert f'id="type-{name}"' in page
        for field in schema["properties"]:
            assert f"<td><code>{field}</code></td>" in page
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))
    assert "level0" in page and "Needs the API key" in page
    assert "Run time of the query&#x27;s batch." in page  # from the docstring of a response


@pytest.mark.slow
def test_the_examples_of_the_page_work(client):
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        if "post" in methods:
            example = methods["post"]["requestBody"]["content"]["application/json"]["example"]
            assert client.post(path, json=example).status_code == 200
            assert escape(json.dumps(example)) in client.get("/docs").text


@pytest.mark.slow
def test_schemathesis_finds_nothing_with_a_key(retriever, engine, tmp_path):
    _run_schemathesis(make_app(engine, retriever, ServeSettings(log=False, api_key="s3cret")), tmp_path, "s3cret")


@pytest.mark.slow
def test_schemathesis_finds_nothing_with_a_ranker_and_without_a_key(reranking_retriever, reranking_engine, tmp_path):
    # Without a ranker, the other paths are the same.
    app = make_app(reranking_engine, reranking_retriever, ServeSettings(log=False))
    _run_schemathesis(app, tmp_path, None, "", "--include-path-regex", "rerank|search|models")


@pytest.mark.slow
@needs_fast_path
def test_schemathesis_finds_nothing_in_changes_of_a_named_index(tiny_elastic, tmp_path):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="int8")
    passages = [{"_id": f"d{number}", "text": f"text {number}"} for number in range(3)]
    path = PassageIndex.build(passages, tmp_path / "mine", encoder, workers=1).path
    retriever = Retriever.open(path, encoder=str(tiny_elastic), download=False)
    with RetrievalEngine(retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        app = make_app(engine, retriever, ServeSettings(log=False, write_key="s3cret"))
        options = ("--include-path", "/passages", "-n", "5", "--request-timeout", "90")  # the later ones count
        _run_schemathesis(app, tmp_path, "s3cret", "/indexes/default", *options)


def _run_schemathesis(app, tmp_path, key=None, prefix="", *more):
    pytest.importorskip("schemathesis", reason="needs pip install schemathesis")
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("needs the command schemathesis")
    (tmp_path / "schemathesis.toml").write_text(_CONFIG)
    with live_server(app) as url:
        headers = [] if key is None else ["-H", f"Authorization: Bearer {key}"]
        options = ["-n", "25", "--seed", "1", "--request-timeout", "20", "--warnings", "off"]
        result = subprocess.run(
            [command, "run", f"{url}{prefix}/openapi.json", *options, *headers, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
        )
    assert result.returncode == 0, "\n".join(line[:500] for line in result.stdout.splitlines())[-6000:]
