"""Load tests of a small HTTP server."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from load_fakes import PROFILE

pytest.importorskip("httptools", reason="needs pip install 'elasticdenser[serve]'")

from elasticdenser.engine.request import Status
from elasticdenser.errors import BadInputError, MissingExtraError
from elasticdenser.loadtest.generator import LoadSettings, run_load
from elasticdenser.loadtest.http_response import HttpResponseReader
from elasticdenser.loadtest.http_target import HttpTarget
from elasticdenser.loadtest.target import TargetError

LEVELS = [{"name": level.name, "quality": level.quality} for level in PROFILE.levels]


class Handler(BaseHTTPRequestHandler):
    """Server whose answer depends on the text of the query."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: ClassVar[set] = set()
    requests: ClassVar[list] = []

    def do_GET(self):
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.answer(401, {})
        else:
            self.answer(200, {"title": "x", "levels": LEVELS} if self.path == "/live" else {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.requests.append((self.path, body))
        Handler.connections.add(self.client_address)
        text = body["query"]
        if text == "refuse":
            self.answer(429, {"error": {}})
        elif text == "break":
            self.answer(500, {"error": {}})
        elif text == "wrong type":
            self.answer(200, {"results": "none"})
        elif text == "no result":
            self.answer(200, {"results": []})
        elif text == "hang up":
            self.close_connection = True
        elif text == "chunks":
            self.answer_in_chunks(self.result())
        else:
            time.sleep(0.3 if text == "slow" else 0.002)
            self.answer(200, self.result())

    def result(self):
        return {"results": [{"hits": [], "level": "level0", "queued_ms": 1.5, "ran_ms": 2, "late": False}]}

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_in_chunks(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in (body[:9], body[9:]):
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.key = True, None
    Handler.requests, Handler.connections = [], set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url_of(server):
    return f"http://127.0.0.1:{server.server_port}"


def load(server, queries, times, deadline_s=0.2, **options):
    with HttpTarget(url_of(server), **options) as target:
        return run_load(target, times, queries, LoadSettings(deadline_s=deadline_s, seconds=1.0, drain_s=1.0))


def test_connections_are_kept_alive(server):
    run = load(server, ["a", "b"], np.linspace(0, 0.4, 40))
    assert [outcome.status for outcome in run.outcomes] == [Status.IN_TIME] * 40
    assert {(outcome.level, outcome.queued_s, outcome.ran_s) for outcome in run.outcomes} == {("level0", 0.0015, 0.002)}
    assert len(Handler.connections) < 30
    path, body = Handler.requests[0]
    assert path == "/search" and body["k"] == 10 and 0 < body["deadline_ms"] <= 200 and body["with_text"] is False


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("refuse", Status.REFUSED),
        ("break", Status.FAILED),
        ("wrong type", Status.FAILED),
        ("no result", Status.FAILED),
        ("hang up", Status.FAILED),
        ("slow", Status.LATE),
        ("chunks", Status.IN_TIME),
    ],
)
def test_each_kind_of_response_has_its_outcome(server, text, status):
    run = load(server, [text], np.linspace(0, 0.05, 4))
    assert [outcome.status for outcome in run.outcomes] == [status] * 4


@pytest.mark.slow
def test_time_spent_waiting_for_a_connection_counts(server):
    run = load(server, ["slow"], np.zeros(4), deadline_s=2.0, max_connections=1)
    latencies_s = sorted(outcome.latency_s for outcome in run.outcomes)
    assert latencies_s[-1] > 0.9 and len(run.outcomes) == 4


def test_the_server_reports_its_levels(server):
    with HttpTarget(url_of(server)) as target:
        assert [(level.name, level.quality) for level in target.profile.levels] == [
            (level.name, level.quality) for level in PROFILE.levels
        ]


def test_an_api_key_is_sent(server):
    server.key = "secret"
    with pytest.raises(TargetError, match="--api-key-file"):
        HttpTarget(url_of(server))
    with HttpTarget(url_of(server), api_key="secret") as target:
        assert target.profile is not None


@pytest.mark.parametrize(
    "url",
    [
        *("https://localhost", "ftp://localhost", "http://", "http:///path", "http://localhost:99999"),
        *("http://localhost:abc", "http://[::1", "http://local host:80", "http://localhost:80/a b", "http://a\nb"),
    ],
)
def test_invalid_urls_are_refused(url):
    with pytest.raises(BadInputError, match="expected the URL of a server"):
        HttpTarget(url)


def test_a_server_that_is_not_running_is_reported():
    with pytest.raises(TargetError, match=r"cannot reach http://127\.0\.0\.1:9"):
        HttpTarget("http://127.0.0.1:9")


def test_a_server_that_does_not_speak_http_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet():
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(TargetError, match=r"answers with 'SSH-2\.0-OpenSSH'; expected HTTP"):
            HttpTarget(f"http://127.0.0.1:{other.getsockname()[1]}")


def test_connecting_does_not_block_the_load_generator(server):
    # Nothing accepts: once the backlog is full, connections are neither made nor refused.
    with HttpTarget(url_of(server)) as target, socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        target._address = deaf.getsockname()
        settings = LoadSettings(deadline_s=0.2, seconds=1, drain_s=0.2)
        run = run_load(target, np.linspace(0, 0.2, 20), ["a"], settings)
    assert run.n_lost == 20 and run.lateness_s.max() < 0.1


def test_requests_fail_if_connections_are_refused(server):
    with HttpTarget(url_of(server)) as target:
        target._address = ("127.0.0.1", 9)
        settings = LoadSettings(deadline_s=0.2, seconds=1, drain_s=0.2)
        run = run_load(target, np.linspace(0, 0.1, 10), ["a"], settings)
    assert [outcome.status for outcome in run.outcomes] == [Status.FAILED] * 10


@pytest.mark.parametrize("length", [1, 7, 1000])
def test_responses_are_reassembled_from_pieces_of_any_length(length):
    responses = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (200, b"abc", False)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            (200, b"abc", False),
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            (200, b"a", False),
        ),
        (b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", (429, b"", True)),
    ]
    reader = HttpResponseReader()
    for data, expected in responses:
        received = [reader.feed(data[start : start + length]) for start in range(0, len(data), length)]
        assert received[-1] == expected and not any(received[:-1])


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nabc"])
def test_data_that_is_not_a_usable_response_ends_the_connection(data):
    assert HttpResponseReader().feed(data) == (0, b"", True)


@pytest.mark.parametrize("excess", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"x"])
def test_data_after_a_response_ends_the_connection(excess):
    response = HttpResponseReader().feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na" + excess)
    assert response == (200, b"a", True)


def test_without_httptools_only_a_load_test_over_http_is_an_error(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("elasticdenser.loadtest.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httptools", None)
    import elasticdenser.loadtest.engine_target

    with pytest.raises(MissingExtraError, match=r"a load test over HTTP needs .* pip install 'fastapi"):
        import elasticdenser.loadtest.http_target  # noqa: F401
