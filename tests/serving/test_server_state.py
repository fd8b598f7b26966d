"""Health, readiness, figures, the last minute, the key, ids and the log."""

from __future__ import annotations

import io
import json
import re
import threading
import urllib.request

import pytest
from serving_helpers import PROFILE, live_server, patient_app, until
from test_search_endpoint import refusal, search

from elasticdenser.errors import QueryError
from elasticdenser.serving.live import KEPT, Live
from elasticdenser.serving.log import AccessLog
from elasticdenser.serving.settings import ServeSettings


def figures(client) -> dict[str, float]:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_ready_once_every_level_has_run(make_client, engine, monkeypatch):
    warmed = threading.Event()
    monkeypatch.setattr(engine, "warm_up", lambda: warmed.wait(10))
    client = make_client()
    assert client.get("/healthz").json() == {"status": "ok"}
    response = client.get("/readyz")
    assert "warming up" in refusal(response, 503)["message"] and response.headers["retry-after"] == "1"
    warmed.set()
    until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").json() == {"status": "ready"}


def test_who_asks_for_the_head_gets_it(retriever, engine):
    with live_server(patient_app(engine, retriever)) as url:
        for path in ("/", "/healthz", "/metrics", "/v1/models"):
            with urllib.request.urlopen(urllib.request.Request(f"{url}{path}", method="HEAD"), timeout=10) as response:
                assert response.status == 200 and int(response.headers["content-length"]) > 10
                assert response.read() == b""


def test_a_server_that_stops_takes_on_nothing(client):
    client.app.state.service.is_stopping = True
    assert client.get("/healthz").status_code == 200
    assert "stopping" in refusal(client.get("/readyz"), 503)["message"]
    response = search(client, query="x")
    assert "stopping" in refusal(response, 503)["message"] and response.headers["connection"] == "close"


def test_metrics(client):
    search(client, query="one")
    search(client, queries=["two", "three"])
    search(client, query="")
    client.get("/nothing/else")
    found = figures(client)
    assert found['elasticdenser_http_requests_total{method="POST",path="/search",status="200"}'] == 2
    assert found['elasticdenser_http_requests_total{method="POST",path="/search",status="422"}'] == 1
    assert found['elasticdenser_http_requests_total{method="GET",path="other",status="404"}'] == 1
    assert found['elasticdenser_http_request_seconds_count{path="/search"}'] == 3
    assert found["elasticdenser_query_seconds_count"] == 3
    assert sum(n for name, n in found.items() if name.startswith("elasticdenser_answers_total")) == 3
    assert found['elasticdenser_queries_total{outcome="in_time"}'] == 3
    for outcome in ("late", "refused", "shed", "failed"):
        assert found[f'elasticdenser_queries_total{{outcome="{outcome}"}}'] == 0
    assert found["elasticdenser_batch_size_sum"] == 3
    assert found['elasticdenser_batch_size_bucket{le="+Inf"}'] == found["elasticdenser_batch_size_count"] <= 3
    assert found["elasticdenser_queue_length"] == found["elasticdenser_running_batches"] == 0
    assert found["elasticdenser_correction_ratio"] > 0
    for name in ("processes", "replaced_processes_total", "replaced_workers_total"):
        assert found[f"elasticdenser_{name}"] == 0
    assert {"elasticdenser_arrival_rate_per_second", "process_resident_memory_bytes"} <= set(found)


def test_two_apps_count_for_themselves(make_client, gated_engine):
    one, another = make_client(), make_client(gated_engine)
    search(one, query="x")
    assert figures(one)["elasticdenser_query_seconds_count"] == 1
    assert figures(another)["elasticdenser_query_seconds_count"] == 0


def test_the_last_minute(client):
    search(client, query="x")
    until(lambda: any(one["answered"] for one in client.get("/live").json()["samples"]))
    live = client.get("/live").json()
    assert live["levels"] == [{"name": level.name, "quality": level.quality} for level in PROFILE.levels]
    assert (live["passages"], live["every_s"], live["deadline_ms"]) == (3, 0.25, 5000.0)
    (sample,) = [one for one in live["samples"] if one["answered"]]
    assert (sample["answered"], sample["turned_away"], sample["levels"]) == (1, 0, [1, 0])
    assert 0 < sample["p50_ms"] <= sample["p99_ms"]
    later = client.get("/live", params={"since": sample["number"] + 1}).json()["samples"]
    assert all(one["number"] > sample["number"] for one in later)
    for given in ("x", "1_0", " 1", "1.5", "-1"):
        message = refusal(client.get("/live", params={"since": given}), 422)["message"]
        assert f"since: got {given!r}; expected a whole number" in message
    assert "got several" in refusal(client.get("/live?since=1&since=2"), 422)["message"]


def test_the_ring_is_bounded(engine):
    live = Live(engine)
    for number in range(KEPT + 50):
        live.answered(0.001 * number)
        live.sample()
    kept = live.since(0)
    assert len(kept) == KEPT and kept[0]["number"] == 50
    assert [one["number"] for one in live.since(KEPT + 48)] == [KEPT + 48, KEPT + 49]
    assert live.since(KEPT + 50) == []
    assert len(live.since(10_000)) == KEPT  # a page that was open before the server started anew
    assert kept[-1]["p50_ms"] == pytest.approx(KEPT + 49)


def test_the_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    addresses = set(re.findall(r"https?://[^\s\"'<]+", response.text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a namespace
    assert not re.search(r"<(script|img|iframe)[^>]* src=|@import|url\(", response.text)


def test_the_key(make_client):
    client = make_client(api_key="s3cret")
    for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert client.get(path).status_code in (200, 503)
    for given in (
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic s3cret",
        "s3cret",
        "Bearer s3cret2",
        "Bearer é",
    ):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        for method, path in (("GET", "/live"), ("GET", "/v1/models"), ("POST", "/search"), ("POST", "/v1/embeddings")):
            response = client.request(method, path, headers=headers)
            assert "no valid API key" in refusal(response, 401)["message"]
            assert response.headers["www-authenticate"] == "Bearer"
    for given in ("Bearer s3cret", "bearer s3cret"):
        assert client.get("/live", headers={"Authorization": given}).status_code == 200
        assert client.post("/search", json={"query": "x"}, headers={"Authorization": given}).status_code == 200
    description = client.get("/openapi.json").json()
    assert description["paths"]["/search"]["post"]["security"] == [{"key": []}]
    assert "security" not in description["paths"]["/healthz"]["get"]
    assert "s3cret" not in repr(client.app.state.service.settings)


def test_request_ids(client):
    for given in ("abc-123", "A.b_c:4", "x" * 64):
        assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    for given in ("", "x" * 65, "a b", 'a"b', "ä"):
        made = client.get("/healthz", headers={"X-Request-Id": given.encode("latin-1")}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", made)
    assert client.get("/nothing", headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


def test_a_line_for_each_request(make_client, gated_engine, capfd):
    client = make_client(log=True)
    client.post("/search", json={"query": "x"}, headers={"X-Request-Id": "mine"})
    client.get("/nothing%0Aat all?key=hidden")
    client.get("/healthz")
    client.app.state.service.log.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    found, missed = lines
    assert {key: found[key] for key in ("id", "method", "path", "status", "level", "queries")} == {
        "id": "mine",
        "method": "POST",
        "path": "/search",
        "status": 200,
        "level": "w1-d2",
        "queries": 1,
    }
    assert found["ms"] > 0
    assert (missed["status"], missed["path"]) == (404, "/nothing\nat all")


def test_why_a_search_failed_is_in_the_log(make_client, gated_engine, capfd):
    client = make_client(gated_engine, log=True)
    search(client, query="die")
    client.app.state.service.log.close()
    assert "out of\\npaper" in capfd.readouterr().err


def test_a_log_that_nobody_reads_holds_up_nobody():
    class Stuck(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.gate = threading.Event()

        def write(self, text):
            self.gate.wait(10)
            return super().write(text)

    file = Stuck()
    log = AccessLog(file)
    for number in range(30_000):
        log.write(number=number)
    file.gate.set()
    log.close(10)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    dropped = sum(line.get("dropped_lines", 0) for line in lines)
    assert dropped > 0 and dropped + sum("number" in line for line in lines) == 30_000


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": " "},
        {"api_key": "é"},
        {"max_body_bytes": 0},
        {"encoding_threads": 0},
        {"deadline_s": 0},
        {"deadline_s": float("nan")},
    ],
)
def test_settings_out_of_range(settings):
    with pytest.raises(QueryError, match="expected"):
        ServeSettings(**settings)
