"""Replicas on a Ray cluster of two nodes, one of which is killed."""

import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hashing import HashingEncoder, make_passages
from ray_nodes import ray_nodes, replica_pids
from sharded import make_sharded
from waiting import wait_until

from elasticdenser.index.sharding.fan_out import FanOutSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.serial,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("ray", "grpc_reflection", "opencensus")), reason="needs the extra ray"
    ),
]
LONG_S = 120.0


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_killed_node_loses_no_request(tmp_path):
    from elasticdenser.serving.ray_cluster import RayCluster, RaySettings

    plain = make_sharded(tmp_path / "index", make_passages(100), HashingEncoder(), 2)
    queries = np.asarray(plain.vectors)[:20]
    expected, statuses = plain.search(queries, 10), []
    settings = RaySettings(address="auto", min_replicas=2, max_replicas=2)
    with ray_nodes(num_cpus=4) as nodes, RayCluster(settings, FanOutSettings(timeout_s=LONG_S)) as cluster:
        index = cluster.open_index(tmp_path / "index")
        wait_until(lambda: [shard.n_replicas for shard in index.fan_out.shards] == [2, 2], LONG_S)
        (lost,) = nodes.worker_nodes
        (raylet,) = lost.all_processes["raylet"]
        nodes_of_replicas = [parent(pid) for shard in ("00000", "00001") for pid in replica_pids(shard)]
        assert len(nodes_of_replicas) == 4 and raylet.process.pid in nodes_of_replicas
        is_over = threading.Event()

        def ask_until_over():
            while not is_over.is_set():
                statuses.append(all(map(np.array_equal, index.search(queries, 10), expected)))

        thread = threading.Thread(target=ask_until_over)
        thread.start()
        try:
            wait_until(lambda: len(statuses) > 5, LONG_S)
            nodes.remove_node(lost, allow_graceful=False)
            n_before = len(statuses)
            wait_until(lambda: len(statuses) > n_before + 5, LONG_S)
        finally:
            is_over.set()
            thread.join(LONG_S)
        assert all(statuses) and index.fan_out.n_left_out == 0
        # Ray starts others on the node that is left.
        wait_until(lambda: [shard.n_replicas for shard in index.fan_out.shards] == [2, 2], LONG_S)
