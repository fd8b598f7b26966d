"""The client of one file, against a live server."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading

import pytest
from documents import ROOT

pytest.importorskip("fastapi", reason="needs pip install 'elasticdenser[serve]'")
pytest.importorskip("uvicorn", reason="needs pip install 'elasticdenser[serve]'")
pytest.importorskip("prometheus_client", reason="needs pip install 'elasticdenser[serve]'")

from kernel_helpers import needs_fast_path
from serving_helpers import PROFILE, GatedSearch, live_server, make_patient_app
from waiting import LONG_DEADLINE_S

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

PASSAGES = [
    {"_id": "d1", "title": "Dune", "text": "dune is a novel about a desert planet"},
    {"_id": "d2", "text": "read a csv file"},
]


@pytest.fixture(scope="module")
def client_module():
    spec = importlib.util.spec_from_file_location("example_client", ROOT / "examples" / "client.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def retriever(tiny_elastic, tmp_path_factory):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    index = PassageIndex.build(PASSAGES, tmp_path_factory.mktemp("served") / "mine", encoder, workers=1)
    return Retriever.open(index.path, encoder=str(tiny_elastic), device="cpu", download=False)


@pytest.fixture(scope="module")
def engine(retriever):
    with RetrievalEngine(retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine, retriever):
    with live_server(make_patient_app(engine, retriever)) as url:
        yield url


@pytest.fixture
def client(client_module, url):
    return client_module.Client(url + "/", timeout_s=60)


def test_searches_with_one_query_and_several(client, retriever):
    result = client.search("dune", k=2, priority=1)
    assert [hit["doc_id"] for hit in result.hits] == [hit.doc_id for hit in retriever.search("dune", k=2)]
    assert {"title", "text", "score"} <= set(result.hits[0])
    assert result.level == "w1-d2" and result.late is False
    one, two = client.search_all(["dune", "csv"], k=1)
    assert one.hits[0]["doc_id"] == result.hits[0]["doc_id"] and len(two.hits) == 1


def test_embeddings_are_those_of_the_encoder(client, retriever):
    (name, *_) = client.models()
    vectors = client.embeddings(["dune", "csv"])
    assert vectors == client.embeddings(["dune", "csv"], model=name)
    assert vectors[1] == pytest.approx(retriever.encoder.encode(["csv"])[0].tolist(), abs=1e-5)


@pytest.mark.slow
@needs_fast_path
def test_documents_are_added_in_several_requests_and_deleted(client_module, tiny_elastic, tmp_path):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="int8")
    path = PassageIndex.build(PASSAGES, tmp_path / "mine", encoder, workers=1).path
    retriever = Retriever.open(path, encoder=str(tiny_elastic), download=False)
    settings = ServeSettings(log=False, write_key="secret", deadline_s=LONG_DEADLINE_S)
    with (
        RetrievalEngine(retriever, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine,
        live_server(make_app(engine, retriever, settings)) as url,
    ):
        client = client_module.Client(url, api_key="secret", timeout_s=60)
        (hit,) = client.search("dune", k=1).hits
        passages = [{key: hit[key] for key in ("doc_id", "title", "text")}]
        passages += [{"doc_id": f"n{number}", "text": f"text {number}"} for number in range(3)]
        change = client.add(iter(passages), passages_per_request=2)
        assert (change.added, change.replaced, change.unchanged) == (3, 0, 1)
        assert {"n0", "n1", "n2"} < {hit["doc_id"] for hit in client.search("text", k=10).hits}
        change = client.delete(["n0", "n2", "nowhere"])
        assert (change.deleted, change.unknown) == (2, ("nowhere",))
        assert {"n0", "n2"}.isdisjoint(hit["doc_id"] for hit in client.search("text", k=10).hits)
        with pytest.raises(client_module.ServerError, match="got no valid write key"):
            client_module.Client(url, api_key="other").delete(["d1"])


def test_readiness(client, client_module):
    assert client.is_ready()
    assert not client_module.Client("http://127.0.0.1:1").is_ready()


def test_errors_of_the_server_are_raised_in_its_words(client, client_module):
    with pytest.raises(client_module.ServerError, match="k") as raised:
        client.search("dune", k=0)
    assert (raised.value.status, raised.value.code) == (422, "invalid")
    with pytest.raises(client_module.ServerError) as raised:
        client.embeddings(["x"], model="none")
    assert raised.value.status == 404


@pytest.mark.slow
def test_a_key_is_sent(client_module, engine, retriever):
    settings = ServeSettings(log=False, api_key="secret", deadline_s=LONG_DEADLINE_S)
    with live_server(make_app(engine, retriever, settings)) as url:
        with pytest.raises(client_module.ServerError) as raised:
            client_module.Client(url).search("dune")
        assert raised.value.status == 401
        assert client_module.Client(url, api_key="secret").search("dune", k=1).hits


def test_a_server_that_does_not_answer_in_time_is_an_error(client_module):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(client_module.ServerError, match=r"no answer from http.* within 0\.2 s") as raised:
            client_module.Client(url, timeout_s=0.2).search("dune")
    assert raised.value.status is None


@pytest.mark.slow
def test_a_request_that_cannot_be_in_time_is_repeated_as_often_as_allowed(client_module, monkeypatch, retriever):
    waits: list[float] = []
    monkeypatch.setattr(client_module.time, "sleep", waits.append)
    gated = GatedSearch()
    with (
        RetrievalEngine(gated, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine,
        live_server(make_patient_app(engine, retriever)) as url,
    ):
        client = client_module.Client(url, retries=2)
        with pytest.raises(client_module.ServerError) as raised:
            client.search("dune", deadline_ms=0.001)
    assert raised.value.status == 429 and raised.value.code == "overloaded"
    assert len(waits) == 2 and min(waits) >= 1


def test_answers_that_are_not_ours_are_errors(client_module):
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy")

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        thread = threading.Thread(target=answer, args=(proxy,))
        thread.start()
        with pytest.raises(client_module.ServerError, match=r"status 502 \(Bad Gateway\)"):
            client_module.Client(f"http://127.0.0.1:{proxy.getsockname()[1]}").models()
        thread.join(10)


@pytest.mark.slow
def test_the_command_prints_hits(client_module, url, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["client.py", url, "dune"])
    client_module.main()
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setattr(sys, "argv", ["client.py", "http://127.0.0.1:1", "dune"])
    with pytest.raises(SystemExit, match="error: no answer"):
        client_module.main()
