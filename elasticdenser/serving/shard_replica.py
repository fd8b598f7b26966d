"""Replica of a shard: what runs in the processes of Ray Serve."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from elasticdenser.arrays import Vectors
from elasticdenser.index import PassageIndex
from elasticdenser.index.manifest import FileEntry
from elasticdenser.index.part_manifests import read_part_manifest
from elasticdenser.index.segment_search import Hits


class ShardReplica:
    """Searches one shard.

    It has no health check of its own: Ray then looks whether the process replies, in another thread than searches,
    so that a replica that is busy is not taken for dead (https://github.com/ray-project/ray/issues/46702).

    Args:
        folder: The shard, on storage that every machine reaches by this path.
        manifest: Size and checksum of its manifest, as the manifest of the whole names it.

    Raises:
        IndexFormatError: The shard is missing or damaged, or another index is in its place.
    """

    def __init__(self, folder: str, manifest: FileEntry) -> None:
        _bind_to_loopback()
        read_part_manifest(Path(folder), manifest)
        self._index = PassageIndex.open(folder)
        # The objects that exist now live as long as the process: exclude them from garbage collections.
        gc.collect()
        gc.freeze()

    def search(self, queries: Vectors, k: int, exact: bool, recall: float | None) -> Hits:
        """Return the hits of the shard; the arguments are those of `ShardRequest`."""
        return self._index.search(queries, k, exact=exact, recall=recall)


def _bind_to_loopback() -> None:
    """Let Serve open its port for calls over gRPC on the loopback address only.

    It opens one in every replica, on all addresses and without a token, and unpickles what it receives (Ray 2.60).
    Our calls are calls of actors, which ask for the token of the cluster; nothing uses that port.
    """
    module = sys.modules.get("ray.serve._private.replica")  # absent outside a replica
    bind = getattr(module, "add_port_to_grpc_server", None)
    if bind is not None:
        module.add_port_to_grpc_server = lambda server, _: bind(server, "127.0.0.1:0")  # type: ignore[union-attr]
