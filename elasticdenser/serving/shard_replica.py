"""Replica of a shard: what runs in the processes of Ray Serve."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

from elasticdenser.index import PassageIndex
from elasticdenser.index.manifest import FileEntry
from elasticdenser.index.part_manifests import read_part_manifest
from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.remote.handshake import RouterAddress
from elasticdenser.index.sharding.remote.replica_threads import ReplicaThreads
from elasticdenser.index.sharding.requests import ShardRequest

LOAD_METRIC = "elasticdenser_load"
"""Name of the figure by which replicas are added."""


class ShardReplica:
    """Searches one shard, for the router that started it.

    Ray Serve starts it, looks after it and adds others; requests do not go through Serve, which would take milliseconds
    for each, but over connections to the router.

    It has no health check of its own: Ray then looks whether the process replies, in another thread than searches,
    so that a replica that is busy is not taken for dead (https://github.com/ray-project/ray/issues/46702).

    Args:
        folder: The shard, on storage that every machine reaches by this path.
        manifest: Size and checksum of its manifest, as the manifest of the whole names it.
        router: Where the router waits.
        searches: Searches that are done at once.

    Raises:
        IndexFormatError: The shard is missing or damaged, or another index is in its place.
    """

    def __init__(self, folder: str, manifest: FileEntry, router: RouterAddress, searches: int) -> None:
        _bind_to_loopback()
        read_part_manifest(Path(folder), manifest)
        self._index = PassageIndex.open(folder)
        # The objects that exist now live as long as the process: exclude them from garbage collections.
        gc.collect()
        gc.freeze()
        self._threads = ReplicaThreads(router, self._search, searches)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the load since the last call; Serve calls this, and gives the figures to `replicas_for_load`."""
        return {LOAD_METRIC: self._threads.take_mean_load()}

    def _search(self, request: ShardRequest) -> Hits:
        return self._index.search(request.queries, request.k, exact=request.exact, recall=request.recall)


def replicas_for_load(context: Any) -> tuple[float, dict[str, Any]]:
    """Return how many replicas a shard should have: requests that are searched or wait, over those wanted of each.

    Args:
        context: Serve's `AutoscalingContext`. Serve applies the bounds and delays of the deployment to the number.
    """
    loads = (context.aggregated_metrics or {}).get(LOAD_METRIC, {})
    if not loads:  # no replica has reported yet
        return context.target_num_replicas, {}
    return sum(loads.values()) / context.config.get_target_ongoing_requests(), {}


def _bind_to_loopback() -> None:
    """Let Serve open its port for calls over gRPC on the loopback address only.

    It opens one in every replica, on all addresses and without a token, and unpickles what it receives (Ray 2.60).
    Nothing uses that port.
    """
    module = sys.modules.get("ray.serve._private.replica")  # absent outside a replica
    bind = getattr(module, "add_port_to_grpc_server", None)
    if bind is not None:
        module.add_port_to_grpc_server = lambda server, _: bind(server, "127.0.0.1:0")  # type: ignore[union-attr]
