"""What tests of the server share: a slow search, and a live server in a thread."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request

from elasticdenser.engine.profile import Level, Profile

PROFILE = Profile(
    levels=[
        Level(name="w1-d2", quality=1.0, measured_s={1: 0.002, 32: 0.05}),
        Level(name="level0", quality=0.8, measured_s={1: 0.0005, 32: 0.008}),
    ]
)
SLOW_S = 5.0  # a deadline that no pause of a busy machine breaks


class GatedSearch:
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


def post(url: str, body, **headers: str):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)
