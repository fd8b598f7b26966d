"""A server whose shards are searched in replicas on Ray: equal hits, killed replicas, and a rolling change."""

from __future__ import annotations

import os
import signal
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hashing import HashingEncoder, make_passages
from ray_nodes import replica_pids
from serving_helpers import PROFILE, search
from sharded import make_sharded
from waiting import wait_until

from elasticdenser.datasets.passages import Passage
from elasticdenser.index.sharding.fan_out import FanOutSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("ray", "grpc_reflection", "opencensus")), reason="needs the extra ray"
    ),
]
QUERIES = ["dune is a novel", "read a csv file", "wait for threads", "word 7 of passage 7"]
LONG_S = 120.0
"""Starting a process takes long on a machine that is busy."""


def passages(n, offset=0):
    return [Passage(doc_id=f"d{i}", text=f"word {i} of passage {i} is sand") for i in range(offset, offset + n)]


@pytest.fixture(scope="module")
def encoder(tiny_elastic):
    from elasticdenser import PassageEncoder

    return PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("ray") / "index"
    make_sharded(path, passages(21), encoder, 2)
    return path


@pytest.fixture(scope="module")
def cluster():
    from elasticdenser.serving.ray_cluster import RayCluster, RaySettings

    settings = RaySettings(min_replicas=2, max_replicas=2, replica_cpus=0.1)
    with RayCluster(settings, FanOutSettings(timeout_s=LONG_S)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def retriever(cluster, folder, tiny_elastic):
    from elasticdenser import Retriever

    options = {"encoder": str(tiny_elastic), "device": "cpu", "download": False}
    return Retriever.open(folder, open_index=cluster.open_index, **options)


@pytest.fixture(scope="module")
def client(retriever):
    """A client of the server over the shards."""
    with client_of(retriever) as client:
        yield client


def client_of(retriever):
    import contextlib

    from fastapi.testclient import TestClient

    from elasticdenser import RetrievalEngine
    from elasticdenser.serving.app import make_app
    from elasticdenser.serving.settings import ServeSettings

    @contextlib.contextmanager
    def running():
        options = {"slo_s": LONG_S, "workers": 2, "hang_timeout_s": LONG_S, "policy": "static:w1-d2"}
        with RetrievalEngine(retriever, PROFILE, **options) as engine:
            settings = ServeSettings(log=False, deadline_s=LONG_S, request_timeout_s=LONG_S)
            with TestClient(make_app(engine, retriever, settings)) as client:
                yield client

    return running()


def results(client, query, k=5, **body):
    response = search(client, query=query, k=k, **body)
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    return result


def test_hits_and_texts_are_those_of_the_plain_server(client, folder, tiny_elastic):
    from elasticdenser import Retriever

    plain = Retriever.open(folder, encoder=str(tiny_elastic), device="cpu", download=False)
    with client_of(plain) as plain_client:
        for query in QUERIES:
            own, expected = results(client, query), results(plain_client, query)
            assert own["hits"] == expected["hits"] and own["hits"][0]["text"]
            assert own["coverage"] == expected["coverage"] == 1.0


def test_router_and_replicas_listen_on_the_loopback_address_only(client):
    listening = {}  # inode -> address
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        fields = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        listening |= {row[9]: row[1].split(":")[0] for row in fields if row[3] == "0A"}
    pids = [pid for shard in ("00000", "00001") for pid in replica_pids(shard)]
    sockets = {
        os.readlink(link) for pid in (*pids, os.getpid()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()
    }
    addresses = [listening[link[8:-1]] for link in sockets if link.startswith("socket:") and link[8:-1] in listening]
    assert len(pids) == 4 and len(addresses) >= 4 + 2  # Serve's in each replica, and the router's for each shard
    assert set(addresses) <= {"0100007F", "0000000000000000FFFF00000100007F"}


@pytest.mark.parametrize(("least", "most", "scaled"), [(1, 4, (1, 4, 1)), (3, 3, None)])
def test_a_range_of_replicas_is_scaled_by_the_requests_that_wait(least, most, scaled):
    from elasticdenser.serving.ray_cluster import RayCluster, RaySettings

    settings = RaySettings(min_replicas=least, max_replicas=most)
    config = RayCluster(settings, FanOutSettings(timeout_s=1))._deployment()._deployment_config
    scaling = config.autoscaling_config
    assert scaled == (scaling and (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests))


def test_a_queue_adds_replicas_and_loses_no_request(cluster, tmp_path):
    from elasticdenser.serving.ray_cluster import RayCluster, RaySettings

    plain = make_sharded(tmp_path / "index", make_passages(500), HashingEncoder(), 1)
    queries = np.repeat(np.asarray(plain.vectors)[:50], 100, axis=0)  # so many that a search takes long
    expected, statuses = plain.search(queries, 10), []
    settings = RaySettings(min_replicas=1, max_replicas=3, searches=1, replica_cpus=0.1)
    with RayCluster(settings, FanOutSettings(timeout_s=LONG_S, hedge_percentile=None)) as scaling:
        index = scaling.open_index(tmp_path / "index")
        (shard,) = index.fan_out.shards
        assert shard.n_replicas == 1
        is_over = threading.Event()

        def ask_until_over():
            while not is_over.is_set():
                statuses.append(all(map(np.array_equal, index.search(queries, 10), expected)))

        threads = [threading.Thread(target=ask_until_over) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: shard.n_replicas > 1, LONG_S)
        finally:
            is_over.set()
            for thread in threads:
                thread.join(LONG_S)
        assert len(statuses) >= len(threads) and all(statuses)
        assert (index.fan_out.n_left_out, index.fan_out.n_asked) == (0, len(statuses))


def test_a_killed_replica_loses_no_request(client):
    expected = {query: results(client, query)["hits"] for query in QUERIES}
    killed, answers = threading.Event(), []

    def ask_many():
        for number in range(24):
            query = QUERIES[number % len(QUERIES)]
            answers.append((query, results(client, query)))
            if number == 4:
                killed.set()

    thread = threading.Thread(target=ask_many)
    thread.start()
    assert killed.wait(LONG_S)
    os.kill(replica_pids("00000")[0], signal.SIGKILL)
    thread.join(LONG_S)
    assert len(answers) == 24
    assert all(answer["hits"] == expected[query] and answer["coverage"] == 1.0 for query, answer in answers)


def test_without_all_replicas_of_a_shard_answers_are_partial_until_they_are_back(client, retriever):
    fan_out = retriever.index.fan_out
    whole, fan_out.settings = fan_out.settings, FanOutSettings(timeout_s=3.0)
    try:
        for pid in replica_pids("00001"):
            os.kill(pid, signal.SIGKILL)
        partial = results(client, QUERIES[0], k=21)
        assert partial["coverage"] == pytest.approx(10 / 21)
        assert {hit["doc_id"] for hit in partial["hits"]} == {f"d{i}" for i in range(10)}
    finally:
        fan_out.settings = whole
    assert results(client, QUERIES[0])["coverage"] == 1.0  # asks until another replica has started


def test_a_new_index_is_taken_up_without_a_lost_request(client, folder, encoder):
    service, statuses, is_over = client.app.state.service, [], threading.Event()

    def ask_until_over():
        while not is_over.is_set():
            statuses.append(search(client, query=QUERIES[0], k=30).status_code)

    thread = threading.Thread(target=ask_until_over)
    thread.start()
    try:
        folder.rename(folder.with_name("old"))
        make_sharded(folder, passages(9, offset=100), encoder, 1)
        wait_until(lambda: len(service.retriever.index) == 9, LONG_S)  # the server looks for changes once a second
        assert {hit["doc_id"] for hit in results(client, QUERIES[0], k=30)["hits"]} == {
            f"d{i}" for i in range(100, 109)
        }
    finally:
        is_over.set()
        thread.join(LONG_S)
    assert statuses and set(statuses) == {200}
