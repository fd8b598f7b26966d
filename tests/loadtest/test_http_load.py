"""A server under load: a small one of our own."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from load_fakes import PROFILE

from elasticdenser.engine.request import Status
from elasticdenser.errors import BadInputError
from elasticdenser.loadtest.client import ClientSettings, run_load
from elasticdenser.loadtest.http_replies import HttpReplies
from elasticdenser.loadtest.http_target import HttpTarget
from elasticdenser.loadtest.target import TargetError

LEVELS = [{"name": level.name, "quality": level.quality} for level in PROFILE.levels]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    connections: ClassVar[set] = set()
    got: ClassVar[list] = []

    def do_GET(self):
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.answer(401, {})
        else:
            self.answer(200, {"levels": LEVELS} if self.path == "/live" else {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.got.append((self.path, body))
        Handler.connections.add(self.client_address)
        text = body["query"]
        if text == "refuse":
            self.answer(429, {"error": {}})
        elif text == "break":
            self.answer(500, {"error": {}})
        elif text == "odd":
            self.answer(200, {"results": "none"})
        elif text == "hang up":
            self.close_connection = True
        elif text == "chunks":
            self.chunks(self.result())
        else:
            time.sleep(0.3 if text == "slow" else 0.002)
            self.answer(200, self.result())

    def result(self):
        return {"results": [{"hits": [], "level": "level0", "queued_ms": 1.5, "ran_ms": 2.0, "late": False}]}

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunks(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (body[:9], body[9:]):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads, made.key = True, None
    Handler.got, Handler.connections = [], set()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def url_of(server):
    return f"http://127.0.0.1:{server.server_port}"


def run(server, queries, times, deadline_s=0.2, **options):
    with HttpTarget(url_of(server), **options) as target:
        return run_load(target, times, queries, ClientSettings(deadline_s=deadline_s, seconds=1.0, drain_s=1.0))


def test_answers_over_connections_that_are_kept(server):
    made = run(server, ["a", "b"], np.linspace(0, 0.4, 40))
    assert [one.status for one in made.outcomes] == [Status.IN_TIME] * 40
    assert {(one.level, one.queued_s, one.ran_s) for one in made.outcomes} == {("level0", 0.0015, 0.002)}
    assert len(Handler.connections) < 30
    path, body = Handler.got[0]
    assert path == "/search" and body["k"] == 10 and 0 < body["deadline_ms"] <= 200 and body["with_text"] is False


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("refuse", Status.REFUSED),
        ("break", Status.FAILED),
        ("odd", Status.FAILED),
        ("hang up", Status.FAILED),
        ("slow", Status.LATE),
        ("chunks", Status.IN_TIME),
    ],
)
def test_what_else_a_server_does(server, text, status):
    made = run(server, [text], np.linspace(0, 0.05, 4))
    assert [one.status for one in made.outcomes] == [status] * 4


def test_time_spent_waiting_for_a_connection_counts(server):
    made = run(server, ["slow"], np.zeros(4), deadline_s=2.0, max_connections=1)
    latencies = sorted(one.latency_s for one in made.outcomes)
    assert latencies[-1] > 0.9 and len(made.outcomes) == 4


def test_levels_are_those_the_server_tells(server):
    with HttpTarget(url_of(server)) as target:
        assert [(level.name, level.quality) for level in target.profile.levels] == [
            (level.name, level.quality) for level in PROFILE.levels
        ]


def test_a_key_is_sent(server):
    server.key = "secret"
    with pytest.raises(TargetError, match="--api-key-file"):
        HttpTarget(url_of(server))
    with HttpTarget(url_of(server), api_key="secret") as target:
        assert target.profile is not None


def test_no_url_and_nobody_there():
    bad_urls = ["https://localhost", "ftp://localhost", "http://", "http:///path", "http://localhost:99999"]
    bad_urls += [
        "http://localhost:abc",
        "http://[::1",
        "http://local host:80",
        "http://localhost:80/a b",
        "http://a\nb",
    ]
    for bad in bad_urls:
        with pytest.raises(BadInputError, match="expected the URL of a server"):
            HttpTarget(bad)
    with pytest.raises(TargetError, match=r"cannot reach http://127\.0\.0\.1:9"):
        HttpTarget("http://127.0.0.1:9")


def test_a_port_that_speaks_something_else():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet():
            made, _ = other.accept()
            with made:
                made.recv(1000)
                made.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(TargetError, match=r"answers with 'SSH-2\.0-OpenSSH'; expected HTTP"):
            HttpTarget(f"http://127.0.0.1:{other.getsockname()[1]}")


def test_connecting_does_not_hold_up_the_client(server):
    # Nobody accepts: past its backlog, connections are neither made nor refused.
    with HttpTarget(url_of(server)) as target, socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        target._address = deaf.getsockname()
        made = run_load(target, np.linspace(0, 0.2, 20), ["a"], ClientSettings(deadline_s=0.2, seconds=1, drain_s=0.2))
    assert made.n_lost == 20 and made.lags_s.max() < 0.1


def test_who_refuses_connections_fails_requests(server):
    with HttpTarget(url_of(server)) as target:
        target._address = ("127.0.0.1", 9)
        made = run_load(target, np.linspace(0, 0.1, 10), ["a"], ClientSettings(deadline_s=0.2, seconds=1, drain_s=0.2))
    assert [one.status for one in made.outcomes] == [Status.FAILED] * 10


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_responses_come_whole_however_they_are_cut(step):
    responses = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (200, b"abc", False)),
        (b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", (429, b"", True)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            (200, b"abc", False),
        ),
    ]
    replies = HttpReplies()
    for sent, expected in responses:
        made = [replies.feed(sent[at : at + step]) for at in range(0, len(sent), step)]
        assert made[-1] == expected and not any(made[:-1])


def test_what_is_no_http_ends_the_connection():
    assert HttpReplies().feed(b"SSH-2.0\r\n\r\n").closes
    assert HttpReplies().feed(b"HTTP/1.1 200 OK\r\n\r\n").status == 0
