"""`/passages`: clients change an index that is being searched, and find what they have changed."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from kernel_helpers import needs_fast_path
from serving_helpers import PROFILE, error_of, live_server, search
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.errors import BuildError, QueryError
from elasticdenser.index.locking import LockHeldError, exclusive_lock
from elasticdenser.serving import refreshing
from elasticdenser.serving.app import make_app
from elasticdenser.serving.passage_writer import Deletion, PassageWriter, WriterBusyError
from elasticdenser.serving.settings import ServeSettings

pytestmark = needs_fast_path

KEY = {"Authorization": "Bearer wr1te"}
SETTINGS = ServeSettings(log=False, deadline_s=LONG_DEADLINE_S, write_key="wr1te", api_key="s3cret")


@pytest.fixture(scope="module")
def index(tiny_elastic, tmp_path_factory):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="int8")
    passages = [{"_id": f"d{number}", "text": f"text {number}", "section": "old"} for number in range(3)]
    path = tmp_path_factory.mktemp("written") / "mine"
    return PassageIndex.build(passages, path, encoder, workers=1, metadata="section")


@pytest.fixture(scope="module")
def written(index, tiny_elastic):
    """A client of a server with search processes, which looks for changes by itself only once a minute."""
    from fastapi.testclient import TestClient

    retriever = Retriever.open(index.path, encoder=str(tiny_elastic), download=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refreshing, "INTERVAL_S", 60.0)
        engine = RetrievalEngine(retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1, processes=True)
        with engine, TestClient(make_app(engine, retriever, SETTINGS), headers=KEY) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200, 60)
            yield client


def add(client, *passages, **options):
    return client.post("/passages", json={"passages": passages, **options})


def delete(client, **body):
    return client.request("DELETE", "/passages", json=body)


def found(client, **options) -> dict[str, str]:
    response = search(client, query="water", k=100, **options)
    assert response.status_code == 200, response.text
    return {hit["doc_id"]: hit["text"] for hit in response.json()["results"][0]["hits"]}


@pytest.mark.slow
def test_the_client_that_wrote_finds_what_it_has_written(written):
    for number in range(3):
        text = f"read {number}"
        response = add(written, {"doc_id": "own", "text": text})
        assert response.status_code == 200, response.text
        assert found(written)["own"] == text
        (other,) = written.get("/indexes").json()["indexes"]
        assert other["generation"] == response.json()["generation"]
    assert delete(written, doc_ids=["own"]).json()["deleted"] == 1
    assert "own" not in found(written)
    assert error_of(search(written, query="x", doc_ids=["own"]), 404)


def test_a_change_is_counted_and_can_be_sent_again(written):
    body = [
        {"doc_id": "d0", "text": "text 0", "metadata": {"section": "old"}},
        {"doc_id": "d1", "title": "T", "text": "new"},
        {"doc_id": "a", "text": "a"},
    ]
    first, second = add(written, *body).json(), add(written, *body).json()
    counts = {key: first[key] for key in ("added", "replaced", "unchanged", "deleted")}
    assert counts == {"added": 1, "replaced": 1, "unchanged": 1, "deleted": 0}
    assert second == {**first, "added": 0, "replaced": 0, "unchanged": 3}
    only_new = add(written, {"doc_id": "a", "text": "other"}, {"doc_id": "b", "text": "b"}, only_new=True).json()
    assert (only_new["added"], only_new["unchanged"]) == (1, 1) and found(written)["a"] == "a"
    gone = delete(written, doc_ids=["a", "b", "nowhere"]).json()
    assert (gone["deleted"], gone["unknown"]) == (2, ["nowhere"])
    again = delete(written, doc_ids=["a", "b", "nowhere"]).json()
    assert (again["deleted"], again["unknown"], again["generation"]) == (0, ["a", "b", "nowhere"], gone["generation"])
    metrics = written.get("/metrics").text
    for change in ("added", "replaced", "deleted"):
        assert f'elasticdenser_changed_documents_total{{change="{change}",index="default"}}' in metrics
    assert f'elasticdenser_index_generation{{index="default"}} {again["generation"]:.1f}' in metrics


def test_vectors_may_be_given(written):
    retriever = written.app.state.service.retriever
    vector = retriever.encoder.encode(["water"])[0].tolist()
    assert add(written, {"doc_id": "wet", "text": "dry", "vector": vector}).json()["added"] == 1
    hits = search(written, query="water", k=1, minimum_level="w1-d2").json()["results"][0]["hits"]
    assert hits[0]["doc_id"] == "wet" and hits[0]["score"] == pytest.approx(1, abs=1e-3)
    for passages, message in (
        ([{"doc_id": "x", "text": "x", "vector": vector[1:]}], "passages[0].vector: got 31 numbers; expected 32"),
        (
            [{"doc_id": "x", "text": "x", "vector": vector}, {"doc_id": "y", "text": "y"}],
            "passages[1].vector is missing",
        ),
        ([{"doc_id": "x", "text": "x", "vector": [2.0] * 32}], "expected normalised ones"),
    ):
        assert message in error_of(add(written, *passages), 422)["message"]
    assert delete(written, doc_ids=["wet"]).status_code == 200


def test_metadata_is_found_and_deleted_by(written):
    response = add(written, {"doc_id": "m", "text": "water", "metadata": {"section": "new", "absent": None}})
    assert response.status_code == 200, response.text
    assert found(written, filter="section = 'new'") == {"m": "water"}
    assert "got the field 'unknown'" in error_of(search(written, query="x", filter="unknown = 1"), 422)["message"]
    assert delete(written, filter="section = 'new'").json()["deleted"] == 1
    assert found(written, filter="section = 'new'") == {} and "d2" in found(written)


def test_metadata_that_the_index_does_not_have_is_refused(written):
    passages = [
        {"doc_id": "x", "text": "x"},
        {"doc_id": "m", "text": "m", "metadata": {"section": "a", "sectoin": "b"}},
    ]
    message = error_of(add(written, *passages), 422)["message"]
    assert "record 'm': got the metadata 'sectoin', which the index does not have (it has 'section')" in message
    assert found(written, filter="section = 'a'") == {}


def test_mistakes_are_named_and_change_nothing(written):
    generation = written.get("/indexes").json()["indexes"][0]["generation"]
    for body, message in (
        ({"passages": []}, "passages: got an empty list"),
        ({"passages": [{"doc_id": "x", "text": "x"}] * 1001}, "got a list of 1,001; expected at most 1,000"),
        ({"passages": [{"_id": "x", "text": "x"}]}, "passages[0].doc_id is missing; got '_id', 'text'"),
        ({"passages": [{"doc_id": "x"}]}, "passages[0].text is missing; got 'doc_id'"),
        ({"passages": [{"doc_id": "x", "text": " "}]}, "has no text"),
        ({"passages": [{"doc_id": "a b", "text": "x"}]}, "holds white space"),
        ({"passages": [{"doc_id": "x", "text": "x"}] * 2}, "'x'"),
        ({"passages": [{"doc_id": "x", "text": "x", "vectors": []}]}, "unknown field 'passages[0].vectors'"),
    ):
        assert message in error_of(written.post("/passages", json=body), 422)["message"]
    for body, message in (
        ({}, "got neither doc_ids nor filter"),
        ({"doc_ids": ["x"], "filter": "a = 1"}, "got both doc_ids and filter"),
        ({"filter": "a ="}, "filter"),
        ({"filter": "nowhere = 1"}, "got the field 'nowhere', expected one of section (text)"),
    ):
        assert message in error_of(delete(written, **body), 422)["message"]
    response = written.request("DELETE", "/passages", content=b"x", headers={"Content-Type": "text/plain"})
    assert "expected application/json" in error_of(response, 415)["message"]
    response = written.post("/passages", content=b'{"passages"', headers={"Content-Type": "application/json"})
    assert "/openapi.json has an example for each path" in error_of(response, 400)["message"]
    assert written.get("/indexes").json()["indexes"][0]["generation"] == generation


def test_bad_ids_and_texts_are_refused_without_the_writer(written, monkeypatch):
    monkeypatch.setattr(PassageWriter, "change", None)  # as if it were busy
    for passage, message in (
        ({"doc_id": "a b", "text": "x"}, "passages[1]: the id 'a b' holds white space"),
        ({"doc_id": " ", "text": "x"}, "passages[1]: the id is empty"),
        ({"doc_id": "a", "text": " "}, "passages[1]: passage 'a' has no text"),
    ):
        error = error_of(add(written, {"doc_id": "x", "text": "x"}, passage), 422)
        assert message in error["message"] and error["param"] == "passages[1]"


def test_only_the_write_key_changes_an_index(written, caplog):
    body = {"doc_ids": ["nowhere"]}
    for header in ("", "Bearer s3cret", "Bearer wr1te2", "Basic wr1te", "Bearer é"):
        response = written.request(
            "DELETE", "/passages", json=body, headers={"Authorization": header.encode("latin-1")}
        )
        assert "no valid write key" in error_of(response, 401)["message"]
    assert search(written, query="x").status_code == 200  # the write key opens the rest too
    description = written.get("/openapi.json").json()
    assert description["paths"]["/passages"]["delete"]["security"] == [{"write_key": []}]
    assert description["paths"]["/search"]["post"]["security"] == [{"key": []}]
    assert "wr1te" not in repr(SETTINGS) + caplog.text + written.get("/metrics").text


def test_a_server_without_a_write_key_takes_no_changes(client):
    for method in ("POST", "DELETE"):
        error = error_of(client.request(method, "/passages", json={}), 403)
        assert error["code"] == "read_only" and "--write-key-file" in error["message"]
    assert "/passages" not in client.get("/openapi.json").json()["paths"]


def test_the_methods_of_the_path_are_named(written):
    for prefix in ("", "/indexes/default"):
        response = written.put(f"{prefix}/passages", json={})
        assert error_of(response, 405)["message"] == "got PUT; expected DELETE, POST"
        assert response.headers["allow"] == "DELETE, POST"


def test_both_keys_are_checked():
    with pytest.raises(QueryError, match="got a write key that is empty"):
        ServeSettings(write_key=" ")
    with pytest.raises(QueryError, match="the same API key and write key"):
        ServeSettings(write_key="x", api_key="x")


@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (LockHeldError("held"), 503, "another process is writing to the index"),
        (WriterBusyError("16 changes are waiting"), 503, "16 changes are waiting"),
        (BuildError("the index holds metadata"), 409, "the index holds metadata"),
    ],
)
def test_a_change_that_cannot_be_made_now_says_when(written, monkeypatch, failure, status, message):
    async def fail(*_):
        raise failure

    monkeypatch.setattr(PassageWriter, "change", fail)
    response = add(written, {"doc_id": "x", "text": "x"})
    assert message in error_of(response, status)["message"]
    assert ("retry-after" in response.headers) == (status == 503)


def test_changes_wait_for_each_other_but_not_for_ever(written, index, monkeypatch):
    service = written.app.state.service
    with monkeypatch.context() as patch, exclusive_lock(index.path, 20):
        patch.setattr(service, "settings", replace(service.settings, write_timeout_s=0.2))
        assert "goes on" in error_of(delete(written, doc_ids=["d2"]), 503)["message"]
        assert service.server.writer.n_waiting == 1
    assert delete(written, doc_ids=["d2"]).json()["unknown"] == ["d2"]  # it has been deleted meanwhile
    assert "d2" not in found(written)


def test_too_many_waiting_changes_are_refused(index):
    writer = PassageWriter(max_waiting=0)
    with pytest.raises(WriterBusyError, match="0 changes are waiting"):
        asyncio.run(writer.change(Deletion(path=index.path, doc_ids=["x"]), 1.0))
    writer.close()


@pytest.mark.slow
def test_a_writer_that_died_is_replaced(written):
    writer = written.app.state.server.writer
    assert add(written, {"doc_id": "before", "text": "before"}).status_code == 200
    writer._process.kill()
    writer._process.wait()
    assert add(written, {"doc_id": "after", "text": "after"}).status_code == 200
    assert {"before", "after"} <= set(found(written))
    delete(written, doc_ids=["before", "after"])


@pytest.mark.slow
def test_no_request_is_lost_while_clients_change_the_index(written):
    """Several clients write and read what they wrote, while others search all the time."""
    stopped, n_answers = threading.Event(), [0]

    def write(number: int) -> None:
        for turn in range(2):
            doc_id, text = f"w{number}", f"writer {number} turn {turn}"
            response = add(written, {"doc_id": doc_id, "text": text})
            assert response.status_code == 200, response.text
            assert found(written)[doc_id] == text
        assert delete(written, doc_ids=[doc_id]).json()["deleted"] == 1
        assert doc_id not in found(written)

    def read() -> None:
        while not stopped.is_set():
            assert {"d0", "d1"} <= set(found(written))
            n_answers[0] += 1

    with ThreadPoolExecutor(4) as pool:
        reading = pool.submit(read)
        try:
            for writing in [pool.submit(write, number) for number in range(3)]:
                writing.result(120)
        finally:
            stopped.set()
        reading.result(20)
    assert n_answers[0] > 5


@pytest.mark.slow
def test_a_live_server_takes_a_delete_with_a_body(index, tiny_elastic):
    retriever = Retriever.open(index.path, encoder=str(tiny_elastic), download=False)
    engine = RetrievalEngine(retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1)
    with engine, live_server(make_app(engine, retriever, SETTINGS)) as url:
        headers = {**KEY, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/passages", b'{"doc_ids": ["nowhere"]}', headers, method="DELETE")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["unknown"] == ["nowhere"]
