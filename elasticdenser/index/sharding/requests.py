"""Requests to a shard, wherever it is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from elasticdenser.arrays import Vectors
from elasticdenser.index.segment_search import Hits


@dataclass(frozen=True, kw_only=True)
class ShardRequest:
    """Search in one shard.

    Args:
        queries: float32, (n_queries, dim).
        k: How many hits, at least 1; capped at the number of the shard's passages.
        exact: As for `PassageIndex.search`.
        recall: As for `PassageIndex.search`.
    """

    queries: Vectors
    k: int
    exact: bool = False
    recall: float | None = None


class Shard(Protocol):
    """Shard of an index, wherever its replicas are."""

    @property
    def n_replicas(self) -> int:
        """Replicas that can be asked now."""

    @property
    def n_waiting(self) -> int:
        """Requests that wait until a replica is free."""

    async def start(self) -> None:
        """Begin to accept requests; called in the event loop of all of them, once, before the first."""

    async def ask(self, request: ShardRequest) -> Hits:
        """Return the hits of one replica, with positions in the shard; cancelled if no one waits any longer.

        Raises:
            Exception: The replica failed.
        """

    def close(self) -> None:
        """Release the replicas."""
