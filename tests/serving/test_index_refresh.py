"""A running server takes up changes of its index that other processes make."""

from __future__ import annotations

import shutil
import threading

import pytest
from serving_helpers import PROFILE, make_patient_app, search
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.datasets import Passage
from elasticdenser.index import rebuild
from elasticdenser.serving import refreshing


@pytest.fixture
def own_retriever(served_index, tiny_elastic, tmp_path):
    path = shutil.copytree(served_index, tmp_path / "mine")
    return Retriever.open(path, encoder=str(tiny_elastic), device="cpu", download=False)


@pytest.fixture
def encoder(tiny_elastic):
    return PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")


@pytest.fixture
def own_client(own_retriever, monkeypatch):
    from fastapi.testclient import TestClient

    monkeypatch.setattr(refreshing, "INTERVAL_S", 0.01)
    engine = RetrievalEngine(own_retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1)
    with engine, TestClient(make_patient_app(engine, own_retriever)) as client:
        yield client


def found(client):
    response = search(client, query="water", k=10, with_text=True)
    assert response.status_code == 200, response.text
    return {hit["doc_id"]: hit["text"] for hit in response.json()["results"][0]["hits"]}


def test_changes_are_found_without_a_restart(own_client, own_retriever, encoder):
    assert set(found(own_client)) == {"d1", "d2", "d3"}
    index = own_retriever.index.add(
        [Passage(doc_id="new", text="water"), Passage(doc_id="d1", text="x")], encoder=encoder
    )
    wait_until(lambda: "new" in found(own_client))
    assert found(own_client)["d1"] == "x"
    assert own_client.get("/live").json()["passages"] == 4
    index.delete(["d2"]).compact()
    wait_until(lambda: set(found(own_client)) == {"d1", "d3", "new"})
    assert search(own_client, query="water", doc_ids=["d2"]).status_code == 404
    assert own_client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_metadata_and_words_of_changes_are_found(own_client, own_retriever, encoder):
    rebuild(own_retriever.index.path, hybrid=True)
    index = own_retriever.index.add(
        [Passage("new", "water and engines", metadata={"n": 1})], encoder=encoder, metadata="n"
    )
    wait_until(lambda: "new" in found(own_client))
    response = search(own_client, query="engine", k=10, hybrid=1.0, filter="n = 1", with_text=True)
    (hit,) = response.json()["results"][0]["hits"]
    assert (hit["doc_id"], hit["metadata"]) == ("new", {"n": 1})
    index.delete(filter="n = 1")
    wait_until(lambda: "new" not in found(own_client))
    assert search(own_client, query="engine", filter="n = 1").json()["results"][0]["hits"] == []


@pytest.mark.slow
def test_no_request_is_lost_while_the_index_changes(own_client, own_retriever, encoder):
    stopped, answers = threading.Event(), []

    def ask():
        while not stopped.is_set():
            answers.append(found(own_client))  # checks the status

    thread = threading.Thread(target=ask)
    thread.start()
    index = own_retriever.index
    for number in range(4):
        index = index.add([Passage(doc_id="d1", text=f"text {number}")], encoder=encoder).delete(
            ["d2"], missing_ok=True
        )
        index = index.add([Passage(doc_id="d2", text=f"text {number}")], encoder=encoder)
    wait_until(lambda: found(own_client).get("d2") == "text 3")  # absent between deletion and addition
    stopped.set()
    thread.join()
    assert all(set(answer) - {"d2"} == {"d1", "d3"} for answer in answers)
    assert len(answers) > 3


def test_an_index_that_cannot_be_taken_up_is_reported(own_client, own_retriever, caplog):
    path = own_retriever.index.path
    manifest = (path / "manifest.json").read_bytes()
    (path / "manifest.json").write_text("torn")
    wait_until(lambda: "cannot be taken up" in caplog.text)
    assert set(found(own_client)) == {"d1", "d2", "d3"}
    (path / "manifest.json").write_bytes(manifest)
    own_retriever.index.delete(["d2"])
    wait_until(lambda: set(found(own_client)) == {"d1", "d3"})


def test_an_index_that_was_replaced_is_not_taken_up(own_client, own_retriever, encoder):
    path = own_retriever.index.path
    PassageIndex.build([Passage(doc_id="other", text="water")], path, encoder, overwrite=True, workers=1)
    own_retriever.index.path.joinpath("manifest.json").touch()
    assert set(found(own_client)) == {"d1", "d2", "d3"}
    PassageIndex.open(path).add([Passage(doc_id="new", text="water")], encoder=encoder)
    wait_until(lambda: set(found(own_client)) == {"other", "new"})
