"""`POST /search`: answers, errors, deadlines, and requests that no HTTP client would send."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from dataclasses import replace

import pytest
from serving_helpers import (
    PROFILE,
    connect,
    error_of,
    live_server,
    make_patient_app,
    occupy,
    post,
    read_response,
    request_head,
    search,
)
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser import RetrievalEngine
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings


def test_one_query_gets_the_hits_of_the_retriever(client, retriever):
    response = search(client, query="desert planet", k=2)
    assert response.status_code == 200
    (result,) = response.json()["results"]
    expected = list(retriever.search("desert planet", 2))
    assert [(hit["doc_id"], hit["score"]) for hit in result["hits"]] == [(hit.doc_id, hit.score) for hit in expected]
    assert set(result) == {"hits", "level", "reranked", "queued_ms", "ran_ms", "late", "coverage"}
    assert result["reranked"] == []
    assert (result["level"], result["late"]) == ("w1-d2", False)
    assert result["queued_ms"] >= 0 and 0 < result["ran_ms"] < 5000


def test_hits_include_texts_unless_they_are_not_wanted(client):
    hits = search(client, query="threads").json()["results"][0]["hits"]
    assert {hit["doc_id"]: (hit["title"], hit["text"]) for hit in hits}["d3"] == (
        "Köln",
        "wait for several threads to finish ☃",
    )
    hits = search(client, query="threads", with_text=False).json()["results"][0]["hits"]
    assert all(set(hit) == {"doc_id", "score"} for hit in hits)


def test_many_queries_get_their_results_in_order(client):
    texts = [f"planet {number}" for number in range(60)]  # enough hits for their texts to be read in a thread
    results = search(client, queries=texts).json()["results"]
    alone = [search(client, query=text).json()["results"][0]["hits"] for text in texts[:3]]
    assert len(results) == 60 and [result["hits"] for result in results[:3]] == alone


def test_a_minimum_quality_holds_for_the_length_of_each_query(make_client, retriever):
    best, fastest = PROFILE.levels
    profile = Profile(levels=[best, replace(fastest, quality_by_tokens={8: 0.95, 64: 0.7})])
    long_text = "read a csv file with headers and wait for several threads to finish"
    with RetrievalEngine(
        retriever, profile, policy="static:level0", slo_s=LONG_DEADLINE_S, workers=1, minimum_quality=0.9
    ) as engine:
        client = make_client(engine)

        def levels(**body):
            return [result["level"] for result in search(client, **body).json()["results"]]

        assert levels(queries=["dune", long_text]) == ["level0", "w1-d2"]
        assert levels(queries=["dune", long_text], minimum_quality=0.96) == ["w1-d2", "w1-d2"]
        assert levels(query=long_text, minimum_quality=0) == ["level0"]
        assert levels(query=long_text, minimum_quality=0.7) == ["level0"]
        assert levels(query="dune", minimum_quality=1, minimum_level="level0") == ["w1-d2"]


def test_a_search_within_some_documents(client):
    hits = search(client, query="planet", doc_ids=["d3", "d2"]).json()["results"][0]["hits"]
    assert {hit["doc_id"] for hit in hits} == {"d2", "d3"}
    error = error_of(search(client, query="planet", doc_ids=["d1", "none"]), 404)
    assert "'none'" in error["message"] and (error["param"], error["code"]) == ("doc_ids", "not_found")


def test_whole_numbers_may_have_a_decimal_point(client):
    response = client.post(
        "/search", content='{"query": "x", "k": 1.0}', headers={"Content-Type": "application/json; charset=utf-8"}
    )
    assert len(response.json()["results"][0]["hits"]) == 1


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({}, "query is missing; got an empty object: see /openapi.json", "query"),
        ({"q": "x", "k": 3}, "query is missing; got 'q', 'k': see /openapi.json", "query"),
        ({"query": 3}, "query: got 3; expected text", "query"),
        ({"query": ""}, "expected text with at least one visible character", "query"),
        ({"query": " \t\u3000\x1c"}, "expected text with at least one visible character", "query"),
        ({"query": "x" * 10_001}, "got 10,001 characters; expected at most 10,000", "query"),
        ({"query": "\ud800"}, "expected text that is Unicode", "query"),
        ({"queries": []}, "queries: got an empty list", "queries"),
        ({"queries": "x"}, "queries: got 'x'; expected a list", "queries"),
        ({"queries": ["x"] * 257}, "got a list of 257; expected at most 256", "queries"),
        ({"queries": ["x", 1]}, "queries[1]: got 1; expected text", "queries[1]"),
        ({"query": "x", "queries": ["x"]}, "got both query and queries; expected one of the two", "query"),
        ({"query": "x", "size": 3}, "unknown field 'size'", "size"),
        ({"query": "x", "k": 0}, "k: got 0; expected a number of at least 1", "k"),
        ({"query": "x", "k": 1001}, "k: got 1001; expected a number of at most 1000", "k"),
        ({"query": "x", "k": "10"}, "k: got '10'; expected a whole number", "k"),
        ({"query": "x", "k": 1.5}, "k: got 1.5; expected a whole number", "k"),
        ({"query": "x", "k": True}, "k: got true; expected a whole number", "k"),
        ({"query": "x", "deadline_ms": 0}, "deadline_ms: got 0", "deadline_ms"),
        ({"query": "x", "deadline_ms": "1"}, "deadline_ms: got '1'; expected a number", "deadline_ms"),
        ({"query": "x", "priority": 101}, "priority: got 101", "priority"),
        ({"query": "x", "minimum_level": "w9"}, "minimum_level: got 'w9'; expected one of w1-d2, l", "minimum_level"),
        ({"query": "x", "filter": "year = 1"}, "filter: this index has no metadata (", "filter"),
        ({"query": "x", "hybrid": True}, "hybrid: got true, but this index has no words (", "hybrid"),
        ({"query": "x", "hybrid": 0.5}, "builds it with --hybrid): leave hybrid out", "hybrid"),
        ({"query": "x", "minimum_quality": 1.5}, "minimum_quality: got 1.5", "minimum_quality"),
        ({"query": "x", "minimum_quality": -1}, "minimum_quality: got -1", "minimum_quality"),
        ({"queries": ["x"], "minimum_quality": "1"}, "minimum_quality: got '1'; expected a number", "minimum_quality"),
        ({"query": "x", "doc_ids": []}, "doc_ids: got an empty list", "doc_ids"),
        ({"query": "x", "doc_ids": "d1"}, "doc_ids: got 'd1'; expected a list", "doc_ids"),
        ({"query": "x", "doc_ids": [1]}, "doc_ids[0]: got 1; expected text", "doc_ids[0]"),
        ({"query": "x", "with_text": "no"}, "with_text: got 'no'; expected true or false", "with_text"),
        ([], "the body: got []; expected a JSON object", None),
        ("x", "the body: got 'x'; expected a JSON object", None),
        (None, "the body", None),
    ],
)
def test_bad_input_is_rejected_with_the_name_of_its_field(client, body, message, param):
    response = client.post("/search", content=json.dumps(body), headers={"Content-Type": "application/json"})
    error = error_of(response, 422)
    assert message in error["message"] and error["param"] == param


def test_too_many_hits_in_total_are_rejected(client, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.search.MAX_TOTAL_HITS", 8)
    assert search(client, queries=["a", "b"], k=1000).status_code == 200  # the index has three passages
    error = error_of(search(client, queries=["a", "b", "c"], k=3), 422)
    assert "k: got 3 for 3 queries; expected at most 8 hits in total" in error["message"]


@pytest.mark.parametrize("text", ["{", "", '{"query": "x"', "\xff", "[" * 100_000, '{"k": 1' + "0" * 5000 + "}"])
def test_a_body_that_is_not_json_is_rejected(client, text):
    response = client.post("/search", content=text.encode("latin-1"), headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    error_of(response, response.status_code)


def test_nan_is_rejected(client):
    response = client.post(
        "/search", content='{"query": "x", "deadline_ms": NaN}', headers={"Content-Type": "application/json"}
    )
    assert "expected a finite number" in error_of(response, 422)["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_another_content_type_is_rejected(client, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    error = error_of(client.post("/search", content=b'{"query": "x"}', headers=headers), 415)
    assert "expected application/json" in error["message"]


def test_unknown_paths_and_methods_are_rejected(client):
    assert "'/nothing'" in error_of(client.get("/nothing"), 404)["message"]
    response = client.get("/search")
    assert error_of(response, 405)["message"] == "got GET; expected POST"
    assert response.headers["allow"] == "POST"
    for path in ("/search/", "/healthz/"):  # rather than a redirect to the host of the Host header
        error_of(client.post(path, follow_redirects=False), 404)


def test_a_body_that_is_too_large_is_rejected(make_client):
    client = make_client(max_body_bytes=100)
    assert search(client, query="x" * 50).status_code == 200
    assert "more than 100 bytes" in error_of(search(client, query="x" * 100), 413)["message"]

    def chunks():  # sent without a length
        for _ in range(4):
            yield b'{"query": "' + b"x" * 50

    response = client.post("/search", content=chunks(), headers={"Content-Type": "application/json"})
    assert "more than 100 bytes" in error_of(response, 413)["message"]


@pytest.mark.slow
def test_a_body_that_never_arrives_is_rejected(retriever, engine):
    with live_server(make_app(engine, retriever, ServeSettings(log=False, request_timeout_s=0.1))) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
            connection.sendall(head)
            response = connection.makefile("rb").read()
    assert b" 408 " in response.split(b"\r\n")[0] and b"the body did not arrive" in response


@pytest.mark.slow
def test_a_body_that_arrives_byte_by_byte_is_rejected_in_the_end(retriever, engine):
    app = make_app(engine, retriever, ServeSettings(log=False, request_timeout_s=0.5))
    with live_server(app) as url, connect(url) as connection:
        connection.sendall(request_head(b"x" * 1000))
        n_sent = 0
        while not select.select([connection], [], [], 0.1)[0]:
            n_sent += 1
            assert n_sent < 100, "the server waits for the body without a limit"
            connection.sendall(b" ")
        status, content = read_response(connection)
    assert status == 408 and "did not arrive within 0.5 s" in content["error"]["message"]


@pytest.mark.slow
def test_data_that_is_not_http_is_rejected(retriever, engine):
    with live_server(make_patient_app(engine, retriever)) as url:
        for data in (b"hello\r\n\r\n", b"GET / HTTP/7.3\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
            with connect(url) as connection:
                connection.sendall(data)
                status, content = read_response(connection)
            assert (status, content["error"]["code"]) == (400, "bad_request")


@pytest.mark.slow
def test_a_head_that_is_too_long_is_rejected(retriever, engine):
    with (
        live_server(make_patient_app(engine, retriever)) as url,
        connect(url) as connection,
    ):
        body = b'{"query": "x"}'
        for _ in range(3):  # the limit holds for each head
            connection.sendall(request_head(body).replace(b"\r\n", b"\r\nX: " + b"a" * 30_000 + b"\r\n", 1) + body)
            assert read_response(connection)[0] == 200
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
        time.sleep(0.2)
        connection.sendall(b"a")
        status, content = read_response(connection)
        assert status == 400 and "longer than 65,536 bytes" in content["error"]["message"]
        assert connection.recv(1) == b""


@pytest.mark.slow
def test_a_deadline_counts_from_the_arrival_of_the_request(retriever, engine):
    with live_server(make_patient_app(engine, retriever)) as url:
        for deadline_ms, expected_status in ((200, 429), (5000, 200)):
            body = json.dumps({"query": "x", "deadline_ms": deadline_ms}).encode()
            with connect(url) as connection:
                connection.sendall(request_head(body))
                time.sleep(0.6)
                connection.sendall(body)
                status, content = read_response(connection)
            assert status == expected_status, content
    assert content["results"][0]["queued_ms"] >= 599
    statuses = engine.snapshot().statuses
    assert statuses["refused"] + statuses["shed"] == 1


def test_the_default_deadline_comes_from_the_settings(make_client, gated_engine, gated):
    client = make_client(gated_engine, deadline_s=0.0001)
    error_of(search(client, query="x"), 429)
    assert search(client, queries=["x"]).status_code == 200  # a list has no deadline


def test_overload_is_rejected_with_a_time_to_try_again(make_client, gated_engine, gated):
    client = make_client(gated_engine)
    futures = [occupy(gated_engine, gated), *(gated_engine.submit(f"busy {number}") for number in range(2))]
    response = search(client, query="one too many")
    error = error_of(response, 429)
    assert (error["type"], error["code"]) == ("rate_limit_error", "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    error_of(search(client, queries=["a", "b"]), 429)
    error_of(search(client, query="hopeless", deadline_ms=0.1), 429)
    gated.gate.set()
    assert all(future.result(5) for future in futures)
    wait_until(lambda: gated_engine.snapshot().n_running == 0)
    assert search(client, query="now").status_code == 200


def test_a_list_that_does_not_fit_leaves_no_query_behind(make_client, gated_engine, gated):
    client = make_client(gated_engine)
    busy = occupy(gated_engine, gated)
    error_of(search(client, queries=["a", "b", "c"]), 429)
    assert gated_engine.snapshot().n_waiting == 0
    gated.gate.set()
    assert busy.result(5) and gated.queries == ["busy"]


def test_a_search_that_waits_too_long_is_rejected(make_client, gated_engine, gated):
    client = make_client(gated_engine, request_timeout_s=0.1)
    occupy(gated_engine, gated)
    assert "no answer within 0.1 s" in error_of(search(client, queries=["a", "b"]), 429)["message"]
    assert gated_engine.snapshot().n_waiting == 0


def test_the_reason_of_a_failed_search_is_not_sent(make_client, gated_engine):
    error = error_of(search(make_client(gated_engine), query="die"), 500)
    assert "the search failed" in error["message"] and "paper" not in error["message"]


def test_a_closed_engine_is_reported_as_unavailable(make_client, gated_engine):
    client = make_client(gated_engine)
    gated_engine.close()
    response = search(client, query="x")
    assert "stopping" in error_of(response, 503)["message"] and response.headers["retry-after"] == "1"


def test_a_bug_is_reported_to_the_client_in_one_line(make_client, engine, monkeypatch, caplog):
    client = make_client()
    monkeypatch.setattr(engine, "submit", lambda *_, **__: 1 / 0)
    assert "bug" in error_of(search(client, query="x"), 500)["message"]


@pytest.mark.slow
def test_the_query_of_a_client_that_hangs_up_is_cancelled(retriever, gated_engine, gated):
    app = make_patient_app(gated_engine, retriever)
    occupy(gated_engine, gated)
    with live_server(app) as url:
        host, port = url.removeprefix("http://").split(":")
        body = b'{"query": "never mind"}'
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            connection.sendall(f"{head}\r\n\r\n".encode() + body)
            wait_until(lambda: gated_engine.snapshot().n_waiting == 1)
        wait_until(lambda: gated_engine.snapshot().n_waiting == 0)
        gated.gate.set()
    assert gated.queries == ["busy"]


@pytest.mark.slow
def test_many_clients_at_once_are_answered(retriever, engine):
    hits_by_text = {}
    with live_server(make_patient_app(engine, retriever)) as url:

        def send_queries(name):
            for number in range(10):
                text = f"{name} {number}"
                hits_by_text[text] = post(f"{url}/search", {"query": text, "k": 1})["results"][0]["hits"]

        threads = [threading.Thread(target=send_queries, args=(name,)) for name in ("dune", "csv", "threads", "planet")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(hits_by_text) == 40 and all(len(hits) == 1 for hits in hits_by_text.values())


@pytest.mark.slow
def test_an_offer_to_upgrade_is_ignored(retriever, engine):
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n"
    body = b'{"query": "dune"}'
    with (
        live_server(make_patient_app(engine, retriever)) as url,
        connect(url) as connection,
    ):
        for _ in range(2):  # the connection stays usable
            connection.sendall(request_head(body).replace(b"\r\n\r\n", b"\r\n" + offer) + body)
            status, content = read_response(connection)
            assert status == 200 and content["results"][0]["hits"]


@pytest.mark.slow
def test_a_body_that_resembles_an_offer_to_upgrade_is_unchanged(retriever, engine):
    text = "dune" + "\r\nupgrade: " * 20 + "GET /livez HTTP/1.1"
    body = json.dumps({"query": "dune", "x": 1}).encode().replace(b'"x": 1', b'"k":\r\nupgrade: 1')
    with live_server(make_patient_app(engine, retriever)) as url, connect(url) as connection:
        for content in (body, json.dumps({"query": text}).replace("\\r\\n", "\r\n").encode()):
            connection.sendall(request_head(content) + content[:12])
            time.sleep(0.1)
            connection.sendall(content[12:])
            assert read_response(connection)[0] == 400  # not JSON; above all, one response to one request
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.slow
def test_a_head_in_pieces_and_two_requests_in_one_piece_are_parsed(retriever, engine):
    body = b'{"query": "dune"}'
    request = request_head(body).replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n") + body
    with live_server(make_patient_app(engine, retriever)) as url, connect(url) as connection:
        for start in range(0, len(request), 25):
            connection.sendall(request[start : start + 25])
            time.sleep(0.01)
        assert read_response(connection)[0] == 200
        plain = request_head(body) + body
        connection.sendall(plain + plain)
        with connection.makefile("rb") as file:
            received = b""
            while received.count(b"HTTP/1.1 200") < 2:
                received += file.read(1)
