"""Ray clusters on this machine, and the processes of replicas on them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def ray_nodes(num_cpus: int) -> Iterator[Any]:
    """Yield a cluster of two nodes, which listens on the loopback address; others can be added with `options`."""
    with pytest.MonkeyPatch.context() as environment:
        # Workers are as nice as the rest, so that they make progress beside other tests.
        for name in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness"):
            environment.setenv(name, "0")
        environment.setenv("RAY_agent_register_timeout_ms", "120000")  # a loaded machine starts them slowly
        environment.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "helpers"))))
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": num_cpus, "object_store_memory": 80 << 20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, connect=True, head_node_args=node)
        cluster.options = node
        cluster.add_node(**node)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def replica_pids(shard: str) -> list[int]:
    """Return the processes of a shard's replicas, which Ray names after their deployments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
        if title.startswith("ray::ServeReplica:elasticdenser-") and f"-{shard}:" in title:
            found.append(int(folder.name))
    return found
