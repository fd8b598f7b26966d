"""Shards that replicas in other threads search over sockets: hits, lost replicas, queues, and strangers."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import numpy as np
import pytest
from hashing import HashingEncoder, make_passages
from sharded import make_sharded
from waiting import wait_until

from elasticdenser.index import PassageIndex
from elasticdenser.index.coverage import collected_coverage
from elasticdenser.index.sharding.fan_out import FanOut, FanOutSettings
from elasticdenser.index.sharding.fan_out_index import FanOutIndex
from elasticdenser.index.sharding.manifest import shard_folder
from elasticdenser.index.sharding.remote import frames, handshake
from elasticdenser.index.sharding.remote.handshake import RouterAddress
from elasticdenser.index.sharding.remote.remote_shard import _MAX_STRANGERS, RemoteShard
from elasticdenser.index.sharding.remote.replica_threads import ReplicaThreads
from elasticdenser.index.sharding.requests import ShardRequest

N, SHARDS, LONG_S, HOST = 41, 3, 30.0, "127.0.0.1"


class Replica:
    """A replica in threads of this process. Searches wait while `gate` is cleared, and fail while `fails` is true."""

    def __init__(self, path, address, n_threads=1):
        self.index, self.gate, self.fails, self.n_asked = PassageIndex.open(path), threading.Event(), False, 0
        self.gate.set()
        self.threads = ReplicaThreads(address, self.search, n_threads)

    def search(self, request):
        self.n_asked += 1
        assert self.gate.wait(LONG_S)
        if self.fails:
            raise OSError("the disk is gone")
        return self.index.search(request.queries, request.k, exact=request.exact, recall=request.recall)

    def close(self):
        self.gate.set()
        self.threads.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "index"
    make_sharded(folder, make_passages(N), HashingEncoder(), SHARDS)
    return folder


@pytest.fixture
def queries(path):
    return np.asarray(PassageIndex.open(path).vectors)[::7]


@pytest.fixture
def start(path):
    """Open the index over replicas: returns it and, for each shard, its replicas."""
    opened = []

    def start(n_replicas=1, n_threads=1, timeout_s=LONG_S, hedge_percentile=None):
        replicas = []

        def deploy(contents):
            shards = [RemoteShard(HOST) for _ in contents.sharded.shards]
            opened.append(FanOut(shards, FanOutSettings(timeout_s=timeout_s, hedge_percentile=hedge_percentile)))
            for entry, shard in zip(contents.sharded.shards, shards, strict=True):
                folder = shard_folder(contents.folder, entry.name)
                replicas.append([Replica(folder, shard.address, n_threads) for _ in range(n_replicas)])
                wait_until(lambda shard=shard: len(shard._connections) == n_replicas * n_threads)
                wait_until(lambda shard=shard: shard.n_replicas == n_replicas)
            opened.extend(replica for own in replicas for replica in own)
            return opened[0]

        return FanOutIndex.open_with(path, deploy), replicas

    yield start
    for closed in opened[::-1]:
        closed.close()


@pytest.fixture
def shard():
    """A shard without replicas, and the loop that serves it."""
    shard = RemoteShard(HOST)
    fan_out = FanOut([shard], FanOutSettings(timeout_s=LONG_S))
    yield shard
    fan_out.close()


def in_thread(function):
    """Start a function in a thread; return the thread and a list that its result is put into."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    return thread, results


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"recall": 0.5}])
def test_hits_are_those_of_the_whole_index_to_the_bit(start, path, queries, options):
    index, _ = start(n_replicas=2, n_threads=2)
    for k in (1, 10, 2 * N):
        own, whole = index.search(queries, k, **options), PassageIndex.open(path).search(queries, k, **options)
        assert all(map(np.array_equal, own, whole)) and [own[0].dtype, own[1].dtype] == [np.float32, np.int64]


def test_a_replica_that_is_lost_while_it_searches_loses_no_request(start, path, queries):
    index, replicas = start(n_replicas=2)
    for replica in replicas[0]:
        replica.gate.clear()
    thread, results = in_thread(lambda: index.search(queries, 5))
    wait_until(lambda: sum(replica.n_asked for replica in replicas[0]) == 1)
    asked, other = sorted(replicas[0], key=lambda replica: -replica.n_asked)
    for connection in asked.threads._connections:  # as when its process is killed
        connection.shutdown(socket.SHUT_RDWR)
    other.gate.set()
    thread.join(LONG_S)
    assert np.array_equal(results[0][0], PassageIndex.open(path).search(queries, 5)[0])
    assert index.fan_out.n_repeated == 1


def test_without_replicas_requests_wait_until_one_connects(shard, path, queries):
    request = ShardRequest(queries=queries, k=3)
    waiting = asyncio.run_coroutine_threadsafe(shard.ask(request), shard._loop)
    wait_until(lambda: shard.n_waiting == 1)
    replica = Replica(shard_folder(path, "00000"), shard.address)
    try:
        assert waiting.result(LONG_S)[0].shape == (len(queries), 3) and shard.n_waiting == 0
    finally:
        replica.close()
    wait_until(lambda: shard.n_replicas == 0)


def test_a_second_request_goes_to_another_replica(start, queries):
    index, replicas = start(n_replicas=2, n_threads=2, hedge_percentile=90)
    for _ in range(40):  # as many replies as a percentile needs
        index.search(queries, 5)
    first, second = replicas[1]
    for replica in (first, second):
        replica.n_asked = 0
    next_asked = next(iter(index.fan_out.shards[1]._replicas))
    (stalled,) = (replica for replica in replicas[1] if replica.threads._id == next_asked)
    stalled.gate.clear()
    with collected_coverage() as shares:
        index.search(queries, 5)
    assert shares == [1.0] and (first.n_asked, second.n_asked) == (1, 1) and index.fan_out.n_hedged >= 1


def test_a_search_that_fails_says_why_and_is_repeated(start, queries, caplog):
    index, replicas = start()
    replicas[2][0].fails = True
    with caplog.at_level(logging.WARNING):
        thread, results = in_thread(lambda: index.search(queries, 5))
        wait_until(lambda: replicas[2][0].n_asked >= 2)
        replicas[2][0].fails = False
        thread.join(LONG_S)
    assert results and "shard 2 failed (OSError: the disk is gone): it is asked again" in caplog.text


def test_requests_that_wait_are_sent_to_the_next_replica_that_is_free_and_cancelled_ones_are_not(start, queries):
    index, replicas = start(timeout_s=0.3)
    (replica,), shard = replicas[0], index.fan_out.shards[0]
    replica.gate.clear()
    late = [in_thread(lambda: index.search(queries, 5)) for _ in range(3)]
    wait_until(lambda: shard.n_waiting == 2)
    for thread, _ in late:
        thread.join(LONG_S)
    assert shard.n_waiting == 0 and replica.n_asked == 1 and index.fan_out.n_partial == 3 * len(queries)
    replica.gate.set()
    with collected_coverage() as shares:
        index.search(queries, 5)
    assert shares == [1.0] and replica.n_asked == 2


def test_the_load_of_a_replica_counts_requests_that_wait_for_it(start, queries):
    index, replicas = start()
    (replica,), shard = replicas[0], index.fan_out.shards[0]
    index.search(queries, 5)
    replica.gate.clear()
    threads = [in_thread(lambda: index.search(queries, 5))[0] for _ in range(4)]
    wait_until(lambda: shard.n_waiting == 3)
    replica.gate.set()  # the next request says how many wait
    wait_until(lambda: shard.n_waiting < 3)
    for thread in threads:
        thread.join(LONG_S)
    assert replica.threads.take_mean_load() > 0
    assert replica.threads.take_mean_load() == pytest.approx(0, abs=1e-9)


def test_a_stranger_gets_no_query_and_is_told_nothing(shard, caplog):
    wrong = RouterAddress(host=HOST, port=shard.address.port, key=b"guess")
    with caplog.at_level(logging.WARNING):
        threads = ReplicaThreads(wrong, lambda request: pytest.fail("was asked"), 1)
        wait_until(lambda: "refused 127.0.0.1: a process without the key" in caplog.text)
        threads.close()
    with socket.create_connection((HOST, shard.address.port)) as connection:
        connection.settimeout(LONG_S)
        assert len(connection.recv(100)) == handshake.CHALLENGE_BYTES
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/html\r\n\r\n" * 2)
        assert _is_over(connection)
    assert shard.n_replicas == 0 and "key" not in repr(shard.address)


def test_an_answer_that_was_overheard_is_of_no_use(shard):
    key, replica = shard.address.key, b"r" * handshake.ID_BYTES
    overheard = handshake.answer_to(key, handshake.new_challenge(), replica, handshake.new_challenge())
    with socket.create_connection((HOST, shard.address.port)) as connection:
        connection.settimeout(LONG_S)
        connection.recv(100)
        connection.sendall(overheard)
        assert _is_over(connection)


def test_a_replica_leaves_a_router_that_does_not_have_the_key(caplog):
    asked = []
    with socket.create_server((HOST, 0)) as listening, caplog.at_level(logging.WARNING):
        listening.settimeout(LONG_S)
        address = RouterAddress(host=HOST, port=listening.getsockname()[1], key=b"k" * 32)
        threads = ReplicaThreads(address, asked.append, 1)
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(LONG_S)
            connection.sendall(handshake.new_challenge())
            connection.recv(handshake.ANSWER_BYTES)
            connection.sendall(b"p" * handshake.PROOF_BYTES + frames.pack_request(_request(), 0))
            assert _is_over(connection)
        threads.close()
    assert asked == [] and "does not have the key" in caplog.text


def test_too_many_strangers_are_closed_at_once(shard):
    connections = [socket.create_connection((HOST, shard.address.port)) for _ in range(_MAX_STRANGERS)]
    try:
        wait_until(lambda: len(shard._connections) == _MAX_STRANGERS)
        with socket.create_connection((HOST, shard.address.port)) as connection:
            connection.settimeout(LONG_S)
            assert _is_over(connection)
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: not shard._connections)


def _is_over(connection):
    """Return whether the other side closes a connection without sending more."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def _request():
    return ShardRequest(queries=np.ones((2, 3), np.float32), k=4)
