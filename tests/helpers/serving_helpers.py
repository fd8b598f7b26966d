"""Helpers for tests of the server: a search that waits at a gate, a live server in a thread, and raw connections."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.request

from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.models.calibration import Calibration
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

PROFILE = Profile(
    levels=[
        Level(name="w1-d2", quality=1.0, measured_s={1: 0.002, 32: 0.05}),
        Level(name="level0", quality=0.8, measured_s={1: 0.0005, 32: 0.008}),
    ]
)
RERANKING_PROFILE = Profile(
    levels=[
        Level(name="w1-d2+3:w0.5-d1", quality=1.0, measured_s={1: 0.01}),
        Level(name="w1-d2", quality=0.9, measured_s={1: 0.002, 32: 0.05}),
    ]
)
CALIBRATED = {"w1-d2": Calibration(scale=0.5, offset=-1.0)}


class GatedSearch(BatchSearch):
    """Search without hits that waits while its gate is closed, and fails for the query "die"."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.queries: list[str] = []

    def search_batch(self, queries, level):
        self.queries += [query.text for query in queries if query.text != "warm up"]
        self.gate.wait(10)
        if any(query.text == "die" for query in queries):
            raise RuntimeError("out of\npaper")
        return [[] for _ in queries]


def occupy(engine, gated: GatedSearch):
    """Make the only worker wait at the gate; returns the future of the query that it runs."""
    gated.gate.clear()
    future = engine.submit("busy")
    wait_until(lambda: "busy" in gated.queries)
    return future


@contextlib.contextmanager
def live_server(app):
    """Serve an application on a free port in a thread; yields its URL."""
    from elasticdenser.serving.server import Server, bind_socket, url_of

    started = threading.Event()
    with bind_socket("127.0.0.1", 0) as bound:
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


def make_patient_app(engine, retriever):
    """Return an application whose queries have a long deadline."""
    return make_app(engine, retriever, ServeSettings(log=False, deadline_s=LONG_DEADLINE_S))


def connect(url: str) -> socket.socket:
    """Return a connection to a server, for data that no HTTP client would send."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def request_head(body: bytes) -> bytes:
    content_type = "Content-Type: application/json"
    return f"POST /search HTTP/1.1\r\nHost: localhost\r\n{content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()


def read_response(connection: socket.socket) -> tuple[int, dict]:
    """Return status and body of a single response."""
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


def error_of(response, status: int) -> dict:
    """Check the form of an error response, and return the error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"] and "\n" not in error["message"]
    assert "Traceback" not in response.text
    return error


def search(client, **body):
    return client.post("/search", json=body)
