"""What tests of the server share: a slow search, and a live server in a thread."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import urllib.request

from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.profiling.profile import Level, Profile
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

PROFILE = Profile(
    levels=[
        Level(name="w1-d2", quality=1.0, measured_s={1: 0.002, 32: 0.05}),
        Level(name="level0", quality=0.8, measured_s={1: 0.0005, 32: 0.008}),
    ]
)
SLOW_S = 5.0  # a deadline that no pause of a busy machine breaks


class GatedSearch(BatchSearch):
    """Finds nothing, when the gate is open; fails where it is told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[str] = []

    def search_batch(self, queries, level):
        self.asked += [query.text for query in queries if query.text != "warm up"]
        self.gate.wait(10)
        if any(query.text == "die" for query in queries):
            raise RuntimeError("out of\npaper")
        return [[] for _ in queries]


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def occupy(engine, gated: GatedSearch):
    """Let the one worker wait at the gate; returns the future of what it waits with."""
    gated.gate.clear()
    busy = engine.submit("busy")
    until(lambda: "busy" in gated.asked)
    return busy


@contextlib.contextmanager
def live_server(app):
    """Serve an app on a free port in a thread; yields its URL."""
    from elasticdenser.serving.server import Server, listening_socket, url_of

    started = threading.Event()
    with listening_socket("127.0.0.1", 0) as bound:
        server = Server(app, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            assert started.wait(20)
            yield url_of(bound)
        finally:
            server.handle_exit(15, None)
            thread.join(20)
            assert not thread.is_alive()


def patient_app(engine, retriever):
    """Return an app whose queries have time on a busy machine."""
    return make_app(engine, retriever, ServeSettings(log=False, deadline_s=SLOW_S))


def connected(url: str) -> socket.socket:
    """Return a connection to a server, for what no client would send."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head_of(body: bytes) -> bytes:
    kind = "Content-Type: application/json"
    return f"POST /search HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()


def answer_of(connection: socket.socket) -> tuple[int, dict]:
    """Return status and body of the one response that comes."""
    with connection.makefile("rb") as file:
        status, length = int(file.readline().split()[1]), 0
        while line := file.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(file.read(length))


def post(url: str, body, **headers: str):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)
