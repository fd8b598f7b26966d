"""Connections: pipelining, smuggling, deadlines, limits, half-closed clients, and the end of the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter

import pytest
from serving_helpers import connect, error_of, live_server, make_patient_app, occupy, read_response, request_head
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

BODY = b'{"query": "dune", "k": 1}'
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def url(retriever, engine):
    with live_server(make_patient_app(engine, retriever)) as url:
        yield url


@pytest.fixture
def serve(retriever, engine):
    """Serve with settings; returns the URL."""
    with contextlib.ExitStack() as stack:

        def start(own_engine=None, **settings):
            settings = ServeSettings(**{"log": False, "deadline_s": LONG_DEADLINE_S, **settings})
            return stack.enter_context(live_server(make_app(own_engine or engine, retriever, settings)))

        yield start


def responses(connection: socket.socket, timeout_s: float = 20.0) -> list[int]:
    """Return the status of each response until the server ends the connection."""
    connection.settimeout(timeout_s)
    with connection.makefile("rb") as file:
        received = file.read()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def last(request: bytes) -> bytes:
    """Return a request after whose response the server closes the connection."""
    return request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


@pytest.mark.slow
def test_a_pipelined_request_may_be_split_anywhere(url):
    requests = HEALTH + last(HEALTH)
    for cut in range(len(HEALTH) - 4, len(requests)):
        with connect(url) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(requests[:cut])
            time.sleep(0.002)
            connection.sendall(requests[cut:])
            assert responses(connection) == [200, 200], cut


@pytest.mark.slow
@pytest.mark.parametrize("n_first", [0, 1, 30])
def test_an_offer_to_upgrade_is_ignored_in_each_pipelined_request(url, n_first):
    search = request_head(BODY).replace(b"\r\n\r\n", b"\r\n" + OFFER) + BODY
    for cut in (0, len(search) - len(BODY), len(search) - 40, search.index(b"Upgrade: h2c") + 3):
        with connect(url) as connection:
            connection.sendall(HEALTH * n_first + search[:cut])
            time.sleep(0.02)
            connection.sendall(search[cut:] + search + last(HEALTH))
            assert responses(connection) == [200] * (n_first + 3)


@pytest.mark.slow
def test_a_body_is_never_taken_for_a_request(url):
    smuggled = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    sized = b"Content-Length: %d\r\n" % len(smuggled)
    for request in (
        head + sized + b"\r\n" + smuggled,
        head + sized + OFFER + smuggled,
        head + chunked,
        head + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + chunked,
    ):
        with connect(url) as connection:
            connection.sendall(request + request + last(HEALTH))
            assert responses(connection) == [400, 400, 200]  # not JSON


@pytest.mark.slow
@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        b"POST /search HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"POST /search HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"POST /search HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n",
        b"POST /search HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n",
        b"POST /search HTTP/1.1\r\nTransfer-Encoding: gzip\r\n",
        b"POST /search HTTP/1.1\r\nTransfer-Encoding : chunked\r\n",
        b"GET /healthz HTTP/1.1\r\nX: y\rUpgrade: h2c\r\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n",
    ],
)
def test_ambiguous_heads_are_rejected_wherever_they_stand(url, request_line_and_headers):
    bad = request_line_and_headers + b"\r\n"
    for before in (b"", HEALTH, HEALTH * 3):
        with connect(url) as connection:
            connection.sendall(before + bad + b"SM\r\n\r\n" + HEALTH)
            assert responses(connection) == [200] * before.count(b"GET") + [400]


@pytest.mark.slow
def test_nothing_is_parsed_after_a_tunnel_or_a_closed_request(url):
    tunnel = b"CONNECT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    for first, expected in (
        (tunnel % (b"localhost:80", len(HEALTH)), 400),
        (tunnel % (b"/healthz", len(HEALTH)), 400),
        (last(HEALTH), 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    ):
        with connect(url) as connection:
            connection.sendall(first + HEALTH)
            time.sleep(0.05)
            connection.sendall(HEALTH)
            assert responses(connection) == [expected]


@pytest.mark.slow
def test_headers_after_a_chunked_body_do_not_count(serve):
    url = serve(api_key="key")
    chunks = b"%x\r\n%s\r\n0\r\nAuthorization: Bearer key\r\nHost: evil\r\n\r\n" % (len(BODY), BODY)
    head = request_head(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connect(url) as connection:
        connection.sendall(head + chunks + last(HEALTH))
        assert responses(connection) == [401, 200]


@pytest.mark.slow
def test_a_broken_body_gets_one_response(serve):
    url = serve(api_key="key")
    head = request_head(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connect(url) as connection:  # rejected before its body arrives
        connection.sendall(head)
        assert read_response(connection)[0] == 401
        connection.sendall(b"no number\r\n" + HEALTH)
        assert responses(connection) == []
    with connect(url) as connection:
        connection.sendall(head.replace(b"Host", b"Authorization: Bearer key\r\nHost") + b"no number\r\n" + HEALTH)
        assert responses(connection) == [400]


@pytest.mark.slow
def test_many_pipelined_requests_wait_unparsed(retriever, gated_engine, gated, serve):
    url = serve(gated_engine)
    occupy(gated_engine, gated)
    n = 300
    with connect(url) as connection:
        search = request_head(BODY) + BODY
        connection.sendall(search + HEALTH * n + last(HEALTH))
        wait_until(lambda: gated_engine.snapshot().n_waiting == 1)
        gated.gate.set()
        assert responses(connection) == [200] * (n + 2)


@pytest.mark.slow
def test_a_head_that_drips_is_rejected(serve):
    url = serve(head_timeout_s=0.3)
    for before in (b"", HEALTH):  # a new connection, or one with keep-alive
        with connect(url) as connection:
            connection.sendall(before)
            if before:
                assert read_response(connection)[0] == 200
            with contextlib.suppress(OSError):
                for byte in HEALTH * 3:
                    connection.sendall(bytes([byte]).replace(b"\r", b"x"))
                    time.sleep(0.02)
            status, content = read_response(connection)
            assert status == 408
            assert "the head of the request did not arrive within 0.3 s" in content["error"]["message"]
            assert connection.recv(1) == b""


@pytest.mark.slow
def test_idle_connections_are_not_subject_to_the_deadline_of_heads(serve):
    url = serve(head_timeout_s=0.1)
    with connect(url) as connection:
        for _ in range(2):
            time.sleep(0.4)
            connection.sendall(HEALTH + b"\r\n")  # old clients send an empty line after a request
            assert read_response(connection)[0] == 200


@pytest.mark.slow
def test_the_body_of_a_rejected_request_has_a_deadline(serve):
    url = serve(api_key="key", request_timeout_s=0.3)
    with connect(url) as connection:
        connection.sendall(request_head(b"x" * 1000))
        assert read_response(connection)[0] == 401
        started_s = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started_s < 10:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - started_s < 5


@pytest.mark.slow
def test_a_rejected_body_that_arrives_in_time_does_not_end_the_connection(serve):
    url = serve(api_key="key")
    with connect(url) as connection:
        for _ in range(2):
            connection.sendall(request_head(BODY))
            assert read_response(connection)[0] == 401
            connection.sendall(BODY)
        connection.sendall(request_head(BODY).replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert responses(connection) == [401]  # the client may send the body or not


@pytest.mark.slow
def test_at_the_limit_the_connection_that_is_idle_the_longest_is_closed(serve):
    url = serve(max_connections=2)
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(connect(url)) for _ in range(2))
        for connection in (second, first):
            connection.sendall(HEALTH)
            assert read_response(connection)[0] == 200
        third = stack.enter_context(connect(url))
        third.sendall(HEALTH)
        assert read_response(third)[0] == 200
        assert second.recv(1) == b""
        first.sendall(HEALTH)
        assert read_response(first)[0] == 200


@pytest.mark.slow
def test_above_the_limit_requests_are_rejected_but_monitors_are_answered(serve, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.protocol.MAX_SURPLUS_CONNECTIONS", 1)
    url = serve(max_connections=2)
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connect(url)) for _ in range(2)]
        for connection in busy:
            connection.sendall(HEALTH[:10])
        time.sleep(0.1)
        with connect(url) as surplus, connect(url) as refused:
            with contextlib.suppress(ConnectionError):
                assert refused.recv(1) == b""
            surplus.sendall(request_head(BODY) + BODY)
            status, content = read_response(surplus)
            assert (
                status == 503 and "the server has 2 connections, its --max-connections" in content["error"]["message"]
            )
            assert surplus.recv(1) == b""
        wait_until(lambda: monitored(url) == [200])
        for connection in busy:
            connection.sendall(HEALTH[10:])
            assert read_response(connection)[0] == 200


def monitored(url) -> list[int]:
    with connect(url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(HEALTH)
        return responses(connection)
    return []


@pytest.mark.slow
def test_a_half_closed_client_gets_its_answers(retriever, engine, capfd):
    app = make_app(engine, retriever, ServeSettings(deadline_s=LONG_DEADLINE_S))
    search = request_head(BODY) + BODY
    with live_server(app) as url:
        for data, expected in ((search, [200]), (HEALTH + search + search, [200] * 3), (HEALTH, [200])):
            with connect(url) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                assert responses(connection) == expected
        for data in (HEALTH[:30], search[:-3]):
            with connect(url) as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                status, content = read_response(connection)
                assert status == 400 and "the connection ended before" in content["error"]["message"]
                assert connection.recv(1) == b""
    statuses = [json.loads(line)["status"] for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert statuses == [200, 200, 200, 499]


@pytest.mark.slow
def test_a_half_closed_client_does_not_wait_for_ever(gated_engine, gated, serve, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.protocol._HALF_CLOSED_TIMEOUT_S", 0.2)
    url = serve(gated_engine)
    occupy(gated_engine, gated)
    with connect(url) as connection:
        connection.sendall(request_head(BODY) + BODY)
        connection.shutdown(socket.SHUT_WR)
        status, content = read_response(connection)
        assert status == 408 and "no answer within 0.2 s" in content["error"]["message"]
    wait_until(lambda: gated_engine.snapshot().n_waiting == 0)
    gated.gate.set()


@pytest.mark.slow
def test_a_rejection_reaches_a_client_that_is_still_sending(url):
    body = b"x" * 12_000_000
    with connect(url) as connection:
        connection.sendall(request_head(body) + body)
        status, content = read_response(connection)
    assert status == 413 and "more than 8,388,608 bytes" in content["error"]["message"]


@pytest.mark.slow
def test_a_client_that_reads_nothing_is_cut_off(url, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.lingering._STALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr("elasticdenser.serving.lingering._LINGER_S", 0.2)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = url.removeprefix("http://").split(":")
        connection.connect((host, int(port)))
        connection.settimeout(10)
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        n_sent = 0
        with pytest.raises(OSError, match=r"reset|pipe"):
            while n_sent < 1 << 28:
                n_sent += connection.send(request * 100)
    assert n_sent < 30_000_000  # mostly held by the operating system: requests do not pile up in the server


class Client(threading.Thread):
    """Sends searches with a pause between them until the server is gone, and counts what happens."""

    def __init__(self, url: str, outcomes: Counter[str], *, keeps_alive: bool) -> None:
        super().__init__(daemon=True)
        self._host, self._outcomes, self._keeps_alive = url.removeprefix("http://"), outcomes, keeps_alive

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=20)
        while True:
            try:
                connection.request("POST", "/search", BODY, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
            except Exception as error:
                self._outcomes[type(error).__name__] += 1
                return
            self._outcomes[str(response.status)] += 1
            if response.will_close or not self._keeps_alive:
                connection.close()
            if response.status == 503:
                return
            time.sleep(0.03)


@pytest.mark.slow
@pytest.mark.parametrize("keeps_alive", [True, False])
def test_a_server_that_stops_answers_every_client(retriever, engine, keeps_alive):
    outcomes = Counter()
    with live_server(make_patient_app(engine, retriever)) as url:
        clients = [Client(url, outcomes, keeps_alive=keeps_alive) for _ in range(8)]
        for client in clients:
            client.start()
        wait_until(lambda: outcomes["200"] > 20)
    for client in clients:
        client.join(20)
    assert set(outcomes) == {"200", "503"} and outcomes["503"] == 8


def test_the_limits_are_checked_before_the_start():
    import resource

    from elasticdenser.errors import ElasticDenserError
    from elasticdenser.serving.server import allow_open_files

    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    if highest == resource.RLIM_INFINITY:
        pytest.skip("no limit of open files")
    with pytest.raises(ElasticDenserError, match=f"may open {highest:,} files only: give --max-connections"):
        allow_open_files(highest)
    allow_open_files(1)


def test_readiness_needs_a_process(make_client, engine, monkeypatch):
    client = make_client()
    wait_until(lambda: client.get("/readyz").status_code == 200)
    monkeypatch.setattr(type(engine), "process_failure", property(lambda _: "the index was replaced"))
    message = error_of(client.get("/readyz"), 503)["message"]
    assert "no search process can start (the index was replaced)" in message


@pytest.mark.slow
def test_a_server_whose_index_was_replaced_warns_and_ends_with_its_last_process(retriever, engine, monkeypatch):
    with live_server(make_patient_app(engine, retriever)) as url:
        ready = f"{url}/readyz"
        wait_until(lambda: status_of(ready) == 200)
        monkeypatch.setattr(type(engine), "lost_index", property(lambda _: "there is another index"))
        with urllib.request.urlopen(ready, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "ready"
        assert answer["warning"] == "search processes that die are not replaced: there is another index"
        monkeypatch.setattr(type(engine), "process_failure", property(lambda _: "there is another index"))
        wait_until(lambda: is_refused(url))


def status_of(url):
    try:
        return urllib.request.urlopen(url, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def is_refused(url):
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return True
    return False
