"""Health, readiness, metrics, the live view, the API key, request ids, the access log and settings."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import urllib.request

import pytest
from serving_helpers import PROFILE, error_of, live_server, make_patient_app, search
from waiting import wait_until

from elasticdenser.errors import QueryError
from elasticdenser.serving.access_log import AccessLog
from elasticdenser.serving.recent_samples import MAX_SAMPLES, RecentSamples
from elasticdenser.serving.settings import ServeSettings


def metrics_of(client) -> dict[str, float]:
    """Return the metrics by name and labels, without the label of the only index."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert 'elasticdenser_query_seconds_count{index="default"}' in values
    return {re.sub(r'\{index="default"\}|index="default",', "", name): value for name, value in values.items()}


def test_ready_once_every_level_has_run(make_client, engine, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(engine, "warm_up", lambda: gate.wait(10))
    client = make_client()
    assert client.get("/healthz").json() == {"status": "ok"}
    response = client.get("/readyz")
    assert "warming up" in error_of(response, 503)["message"] and response.headers["retry-after"] == "1"
    gate.set()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.slow
def test_head_requests_get_no_body(retriever, engine):
    with live_server(make_patient_app(engine, retriever)) as url:
        for path in ("/", "/healthz", "/metrics", "/v1/models"):
            with urllib.request.urlopen(urllib.request.Request(f"{url}{path}", method="HEAD"), timeout=10) as response:
                assert response.status == 200 and int(response.headers["content-length"]) > 10
                assert response.read() == b""


def test_a_stopping_server_rejects_new_requests(client):
    client.app.state.server.is_stopping = True
    assert client.get("/healthz").status_code == 200
    assert "stopping" in error_of(client.get("/readyz"), 503)["message"]
    response = search(client, query="x")
    assert "stopping" in error_of(response, 503)["message"] and response.headers["connection"] == "close"


def test_metrics_count_requests_queries_and_batches(client):
    search(client, query="one")
    search(client, queries=["two", "three"])
    search(client, query="")
    client.get("/nothing/else")
    metrics = metrics_of(client)
    assert metrics['elasticdenser_http_requests_total{method="POST",path="/search",status="200"}'] == 2
    assert metrics['elasticdenser_http_requests_total{method="POST",path="/search",status="422"}'] == 1
    assert metrics['elasticdenser_http_requests_total{method="GET",path="other",status="404"}'] == 1
    assert metrics['elasticdenser_http_request_seconds_count{path="/search"}'] == 3
    assert metrics["elasticdenser_query_seconds_count"] == 3
    assert sum(n for name, n in metrics.items() if name.startswith("elasticdenser_answers_total")) == 3
    assert metrics['elasticdenser_queries_total{outcome="in_time"}'] == 3
    for outcome in ("late", "refused", "shed", "failed"):
        assert metrics[f'elasticdenser_queries_total{{outcome="{outcome}"}}'] == 0
    assert metrics["elasticdenser_batch_size_sum"] == 3
    assert metrics['elasticdenser_batch_size_bucket{le="+Inf"}'] == metrics["elasticdenser_batch_size_count"] <= 3
    assert metrics["elasticdenser_queue_length"] == metrics["elasticdenser_running_batches"] == 0
    assert metrics["elasticdenser_correction_ratio"] > 0
    for name in ("processes", "replaced_processes_total", "replaced_workers_total"):
        assert metrics[f"elasticdenser_{name}"] == 0
    assert {"elasticdenser_arrival_rate_per_second", "process_resident_memory_bytes"} <= set(metrics)


def test_two_applications_have_metrics_of_their_own(make_client, gated_engine):
    first, second = make_client(), make_client(gated_engine)
    search(first, query="x")
    assert metrics_of(first)["elasticdenser_query_seconds_count"] == 1
    assert metrics_of(second)["elasticdenser_query_seconds_count"] == 0


def test_the_live_view_reports_levels_and_samples(client):
    search(client, query="x")
    wait_until(lambda: any(sample["answered"] for sample in client.get("/live").json()["samples"]))
    live = client.get("/live").json()
    assert live["levels"] == [{"name": level.name, "quality": level.quality} for level in PROFILE.levels]
    assert (live["passages"], live["every_s"], live["deadline_ms"]) == (3, 0.25, 5000.0)
    assert (live["page_deadline_ms"], live["hit_url"]) == (500.0, None)
    (sample,) = [sample for sample in live["samples"] if sample["answered"]]
    assert (sample["answered"], sample["turned_away"], sample["levels"]) == (1, 0, [1, 0])
    assert 0 < sample["p50_ms"] <= sample["p99_ms"]
    later = client.get("/live", params={"since": sample["number"] + 1}).json()["samples"]
    assert all(other["number"] > sample["number"] for other in later)
    for value in ("x", "1_0", " 1", "1.5", "-1"):
        message = error_of(client.get("/live", params={"since": value}), 422)["message"]
        assert f"since: got {value!r}; expected a whole number" in message
    assert "got several" in error_of(client.get("/live?since=1&since=2"), 422)["message"]


def test_the_ring_buffer_is_bounded(engine):
    recent = RecentSamples(engine)
    for number in range(MAX_SAMPLES + 50):
        recent.record_latency(0.001 * number)
        recent.add_sample()
    samples = recent.since(0)
    assert len(samples) == MAX_SAMPLES and samples[0]["number"] == 50
    newest = recent.since(MAX_SAMPLES + 48)
    assert [sample["number"] for sample in newest] == [MAX_SAMPLES + 48, MAX_SAMPLES + 49]
    assert recent.since(MAX_SAMPLES + 50) == []
    assert len(recent.since(10_000)) == MAX_SAMPLES  # a page that was open before the server was restarted
    assert samples[-1]["p50_ms"] == pytest.approx(MAX_SAMPLES + 49)


def test_the_page_loads_nothing_from_other_hosts(client):
    response = client.get("/")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    addresses = set(re.findall(r"https?://[^\s\"'<]+", response.text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, not a request
    assert not re.search(r"<(script|img|iframe)[^>]* src=|@import|url\(", response.text)


@pytest.mark.slow
def test_paths_that_search_need_the_api_key(make_client):
    client = make_client(api_key="s3cret")
    for path in ("/", "/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert client.get(path).status_code in (200, 503)
    for header in (
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
        headers = {} if header is None else {"Authorization": header.encode("latin-1")}
        for method, path in (("GET", "/live"), ("GET", "/v1/models"), ("POST", "/search"), ("POST", "/v1/embeddings")):
            response = client.request(method, path, headers=headers)
            assert "no valid API key" in error_of(response, 401)["message"]
            assert response.headers["www-authenticate"] == "Bearer"
    for header in ("Bearer s3cret", "bearer s3cret"):
        assert client.get("/live", headers={"Authorization": header}).status_code == 200
        assert client.post("/search", json={"query": "x"}, headers={"Authorization": header}).status_code == 200
    description = client.get("/openapi.json").json()
    assert description["paths"]["/search"]["post"]["security"] == [{"key": []}]
    assert "security" not in description["paths"]["/healthz"]["get"]
    assert "s3cret" not in repr(client.app.state.service.settings)


def test_valid_request_ids_are_sent_back_and_others_replaced(client):
    for valid in ("abc-123", "A.b_c:4", "x" * 64):
        assert client.get("/healthz", headers={"X-Request-Id": valid}).headers["x-request-id"] == valid
    for invalid in ("", "x" * 65, "a b", 'a"b', "ä"):
        response = client.get("/healthz", headers={"X-Request-Id": invalid.encode("latin-1")})
        assert re.fullmatch("[0-9a-f]{16}", response.headers["x-request-id"])
    assert client.get("/nothing", headers={"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"


def test_the_access_log_has_a_line_for_each_request(make_client, gated_engine, capfd):
    client = make_client(log=True)
    client.post("/search", json={"query": "x"}, headers={"X-Request-Id": "mine"})
    client.get("/nothing%0Aat all?key=hidden")
    client.get("/healthz")
    client.app.state.server.log.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    answered, not_found = lines
    assert {key: answered[key] for key in ("id", "method", "path", "status", "level", "queries")} == {
        "id": "mine",
        "method": "POST",
        "path": "/search",
        "status": 200,
        "level": "w1-d2",
        "queries": 1,
    }
    assert answered["ms"] > 0
    assert (not_found["status"], not_found["path"]) == (404, "/nothing\nat all")


def test_the_reason_of_a_failed_search_is_in_the_log(make_client, gated_engine, capfd):
    client = make_client(gated_engine, log=True)
    search(client, query="die")
    client.app.state.server.log.close()
    assert "out of\\npaper" in capfd.readouterr().err


def test_the_traceback_of_a_failure_is_logged(make_client, gated_engine, engine, monkeypatch, caplog):
    client = make_client(gated_engine)
    for query, expected in (("die", "RuntimeError: out of\npaper"), ("x", "ZeroDivisionError")):
        response = search(client, query=query)
        assert response.status_code == 500
        (record,) = caplog.records
        assert response.headers["x-request-id"] in record.getMessage()
        assert "Traceback" in caplog.text and expected in caplog.text
        caplog.clear()
        monkeypatch.setattr(gated_engine, "submit", lambda *_, **__: 1 / 0)


class GatedFile(io.StringIO):
    """File whose writes wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def write(self, text):
        self.gate.wait(10)
        return super().write(text)


@pytest.mark.slow
def test_a_slow_reader_of_the_log_does_not_hold_up_requests():
    file = GatedFile()
    log = AccessLog(file)
    for number in range(30_000):
        log.write(number=number)
    file.gate.set()
    log.close(10)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    dropped = sum(line.get("dropped_lines", 0) for line in lines)
    assert dropped > 0 and dropped + sum("number" in line for line in lines) == 30_000


def test_a_log_that_nobody_reads_does_not_hold_up_the_shutdown():
    file = GatedFile()
    log = AccessLog(file)
    log.write(number=1)
    started_s = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - started_s < 5
    file.gate.set()


@pytest.mark.parametrize(
    "settings",
    [
        {"request_timeout_s": 0},
        {"max_encoding": 0},
        {"api_key": " "},
        {"api_key": "é"},
        {"max_body_bytes": 0},
        {"max_connections": 0},
        {"head_timeout_s": 0},
        {"head_timeout_s": float("nan")},
        {"encoding_threads": 0},
        {"deadline_s": 0},
        {"deadline_s": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(QueryError, match="expected"):
        ServeSettings(**settings)


def test_the_log_is_ascii_whatever_clients_send():
    file = io.StringIO()
    log = AccessLog(file)
    log.write(path="/\x9b31m\u00e9\ud800", status=404)
    log.close()
    line = file.getvalue()
    assert line.isascii() and json.loads(line)["path"] == "/\x9b31m\u00e9\ud800"
