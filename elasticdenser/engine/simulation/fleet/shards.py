"""Simulated shards: replicas that search one batch at a time, each with a queue."""

from __future__ import annotations

from collections import deque

import numpy as np

from elasticdenser.engine.request import Batch


class FanOut:
    """Batch that a router has sent to all shards.

    Args:
        batch: The batch.
        router: Number of the router.
        n_shards: Number of shards.
        sent_s: Time at which it was sent.

    Attributes:
        pending: Shards that have not replied; empty once the batch is answered.
        n_asked: Number of shards, for the coverage of the answer.
    """

    __slots__ = ("asked", "batch", "n_asked", "pending", "router", "sent_s")

    def __init__(self, batch: Batch, router: int, n_shards: int, sent_s: float) -> None:
        self.batch, self.router, self.sent_s = batch, router, sent_s
        self.pending = set(range(n_shards))
        self.n_asked = n_shards
        self.asked: dict[int, Replica] = {}  # the first replica that was asked, by shard

    @property
    def coverage(self) -> float:
        """Share of the shards that have replied."""
        return (self.n_asked - len(self.pending)) / self.n_asked


class Replica:
    """Replica of a shard.

    Args:
        shard: Number of the shard.

    Attributes:
        n_outstanding: Requests that were sent to it and have not been replied to.
    """

    def __init__(self, shard: int) -> None:
        self.shard, self.n_outstanding, self.is_busy = shard, 0, False
        self.queue: deque[FanOut] = deque()

    def take(self) -> FanOut | None:
        """Return the next request; those that another replica has replied to meanwhile are dropped."""
        while self.queue:
            fan_out = self.queue.popleft()
            if self.shard in fan_out.pending:
                return fan_out
            self.n_outstanding -= 1
        return None


def choose_replica(replicas: list[Replica], other_than: Replica | None, rng: np.random.Generator) -> Replica:
    """Return a replica: of two drawn at random, the one with fewer requests."""
    candidates = [replica for replica in replicas if replica is not other_than]
    if len(candidates) <= 2:
        return min(candidates, key=lambda replica: replica.n_outstanding)
    first = int(rng.integers(len(candidates)))
    second = (first + 1 + int(rng.integers(len(candidates) - 1))) % len(candidates)
    return min(candidates[first], candidates[second], key=lambda replica: replica.n_outstanding)
