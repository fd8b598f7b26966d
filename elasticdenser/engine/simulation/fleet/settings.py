"""Settings of a simulated fleet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """Settings of a simulated fleet: routers encode and choose levels, replicas of shards search.

    Requests go to the routers in turn. Each router has a scheduler of its own, which knows nothing of the others, and
    encodes one batch at a time; each replica searches one batch at a time, in the order of arrival. An answer needs a
    reply of every shard. Of two replicas drawn at random, a request goes to the one with fewer requests (Mitzenmacher,
    2001).

    Args:
        deadline_s: Deadline of each request, after its arrival at a router.
        routers: Number of routers.
        in_flight: Batches that a router may have begun and not answered.
        shards: Number of shards.
        replicas: Number of replicas of each shard.
        network_s: Mean delay of a message between a router and a replica, exponentially distributed.
        noise: As for `SimulationSettings`, of each encoding and each search.
        stall_every_s: Mean time of searching between two stalls of a replica, exponentially distributed: a search
            that is preempted, waits for the disk, or is not scheduled. Infinity is none.
        stall_s: Mean length of a stall, exponentially distributed.
        hedge_percentile: A shard that has not replied after this percentile of its reply times is asked again, at
            another replica; None never is.
        partial: Answer without the shards that have not replied when the first deadline of a batch comes near.
        reserve_s: As for `SchedulerSettings`; partial answers are given this long before the deadline.
        max_unfinished: As for `SchedulerSettings`, of each router.
        seed: Seed of all that is random.

    Raises:
        QueryError: A value is out of range.
    """

    deadline_s: float
    routers: int = 1
    in_flight: int = 2
    shards: int = 1
    replicas: int = 1
    network_s: float = 0.0002
    noise: float = 0.1
    stall_every_s: float = math.inf
    stall_s: float = 0.02
    hedge_percentile: float | None = None
    partial: bool = False
    reserve_s: float | None = None
    max_unfinished: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.routers, self.in_flight, self.shards, self.replicas)
        if min(counts) < 1:
            message = "got {} routers with {} batches in flight, {} shards and {} replicas".format(*counts)
            raise QueryError(f"{message}; expected at least 1 of each")
        if not (self.stall_every_s > 0 and 0 <= self.stall_s < math.inf):
            message = f"got stalls of {self.stall_s} s every {self.stall_every_s} s"
            raise QueryError(f"{message}; expected seconds of at least 0, every some seconds above 0")
        if not (0 <= self.network_s < math.inf and 0 <= self.noise <= 2):
            message = f"got a network delay of {self.network_s} s with noise {self.noise}"
            raise QueryError(f"{message}; expected seconds of at least 0 and noise from 0 to 2")

    @property
    def n_machines(self) -> int:
        """Number of machines: each is a router or a replica of one shard."""
        return self.routers + self.shards * self.replicas

    def scheduler_settings(self) -> SchedulerSettings:
        """Return the settings of each router's scheduler."""
        return SchedulerSettings(
            slo_s=self.deadline_s,
            workers=self.in_flight,
            reserve_s=self.reserve_s,
            max_unfinished=self.max_unfinished,
        )
