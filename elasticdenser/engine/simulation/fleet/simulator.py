"""Simulator of a fleet: the schedulers of its routers under a virtual clock, with discrete events."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.request import Batch, Outcome, Request, Status
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.simulation.arrivals import Times
from elasticdenser.engine.simulation.fleet.settings import FleetSettings
from elasticdenser.engine.simulation.fleet.shards import FanOut, Replica, choose_replica
from elasticdenser.engine.simulation.fleet.times import FleetTimes
from elasticdenser.hedging import HedgeDelay


@dataclass(kw_only=True)
class FleetRun:
    """Outcomes of the requests in a simulated fleet.

    Attributes:
        outcomes: Outcome of every request, in the order in which the requests end.
        coverage: Share of the shards in an answer, by the id of its request, where that is not all.
        n_searches: Requests to shards, hedged ones not counted.
        n_hedged: Second requests to shards.
        encoding_s: Time that the routers encoded.
        searching_s: Time that the replicas searched.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    coverage: dict[int, float] = field(default_factory=dict)
    n_searches: int = 0
    n_hedged: int = 0
    encoding_s: float = 0.0
    searching_s: float = 0.0

    @property
    def whole_in_time(self) -> float:
        """Share of the requests that were answered in time by all shards."""
        whole = (o.status is Status.IN_TIME and o.request.id not in self.coverage for o in self.outcomes)
        return sum(whole) / max(1, len(self.outcomes))


def simulate_fleet(times: FleetTimes, policy: str, arrivals: Times, settings: FleetSettings) -> FleetRun:
    """Simulate a fleet, and return what happened.

    Args:
        times: Levels and run times.
        policy: Name of the policy of every router, as for `make_policy`.
        arrivals: Arrival times.
        settings: The settings.

    Raises:
        QueryError: The policy does not exist, or a setting is out of range.
    """
    return _FleetSimulation(times, policy, arrivals, settings).run()


class _Router:
    """Router: a scheduler, and an encoder that is busy until `encoder_free_s`."""

    def __init__(self, number: int, times: FleetTimes, policy: str, settings: FleetSettings) -> None:
        profile, own = times.expected(settings), settings.scheduler_settings()
        self.number, self.encoder_free_s = number, 0.0
        self.scheduler = Scheduler(profile, make_policy(policy, profile, own), own)


class _FleetSimulation:
    """One simulation. Events are (time, number, method, argument) in a heap."""

    def __init__(self, times: FleetTimes, policy: str, arrivals: Times, settings: FleetSettings) -> None:
        self._times, self._settings, self._run = times, settings, FleetRun()
        self._rng = np.random.default_rng(settings.seed)
        self._routers = [_Router(number, times, policy, settings) for number in range(settings.routers)]
        self._shards = [[Replica(shard) for _ in range(settings.replicas)] for shard in range(settings.shards)]
        self._hedge = HedgeDelay(settings.hedge_percentile if settings.replicas > 1 else None)
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[float, Any], None], Any]] = [
            (arrival_s, next(self._numbers), self._arrive, number) for number, arrival_s in enumerate(arrivals.tolist())
        ]

    def run(self) -> FleetRun:
        events = self._events
        heapq.heapify(events)
        while events:
            now_s, _, handle, argument = heapq.heappop(events)
            handle(now_s, argument)
        return self._run

    def _push(self, time_s: float, handle: Callable[[float, Any], None], argument: Any) -> None:
        heapq.heappush(self._events, (time_s, next(self._numbers), handle, argument))

    def _arrive(self, now_s: float, number: int) -> None:
        router = self._routers[number % len(self._routers)]
        request = Request(id=number, query=number, arrival_s=now_s, deadline_s=now_s + self._settings.deadline_s)
        try:
            router.scheduler.add(request)
        except OverloadedError:
            self._run.outcomes.append(Outcome(request=request, status=Status.REFUSED, end_s=now_s))
        self._schedule(now_s, router)

    def _schedule(self, now_s: float, router: _Router) -> None:
        scheduler = router.scheduler
        while scheduler.n_running < self._settings.in_flight and (batch := scheduler.schedule(now_s)):
            run_s = self._noisy(self._times.encoding.levels[batch.level_index], batch)
            router.encoder_free_s = max(now_s, router.encoder_free_s) + run_s
            self._run.encoding_s += run_s
            self._push(router.encoder_free_s, self._send, (router, batch))
        scheduler.expire(now_s)
        self._run.outcomes += scheduler.take_shed()

    def _send(self, now_s: float, encoded: tuple[_Router, Batch]) -> None:
        """Send an encoded batch to all shards."""
        router, batch = encoded
        fan_out = FanOut(batch, router.number, len(self._shards), now_s)
        for shard, replicas in enumerate(self._shards):
            fan_out.asked[shard] = self._ask(now_s, fan_out, choose_replica(replicas, None, self._rng))
        self._run.n_searches += len(self._shards)
        delay_s = self._hedge.delay_s(batch.level)
        if delay_s < math.inf:
            self._push(now_s + delay_s, self._ask_again, fan_out)
        if self._settings.partial:
            reserve_s = self._settings.scheduler_settings().resolved_reserve_s
            due_s = min(request.deadline_s for request in batch.requests()) - reserve_s
            self._push(max(now_s, due_s), self._give_up, fan_out)

    def _ask(self, now_s: float, fan_out: FanOut, replica: Replica) -> Replica:
        replica.n_outstanding += 1
        self._push(now_s + self._network_s(), self._receive, (replica, fan_out))
        return replica

    def _ask_again(self, now_s: float, fan_out: FanOut) -> None:
        """Send second requests to the shards that have not replied."""
        for shard in sorted(fan_out.pending):
            self._ask(now_s, fan_out, choose_replica(self._shards[shard], fan_out.asked[shard], self._rng))
            self._run.n_hedged += 1

    def _receive(self, now_s: float, asked: tuple[Replica, FanOut]) -> None:
        replica, fan_out = asked
        replica.queue.append(fan_out)
        if not replica.is_busy:
            self._search(now_s, replica)

    def _search(self, now_s: float, replica: Replica) -> None:
        fan_out = replica.take()
        replica.is_busy = fan_out is not None
        if fan_out is None:
            return
        settings, batch = self._settings, fan_out.batch
        run_s = self._noisy(self._times.search.levels[batch.level_index], batch)
        if settings.stall_every_s < math.inf:
            n_stalls = self._rng.poisson(run_s / settings.stall_every_s)
            run_s += self._rng.gamma(n_stalls, settings.stall_s) if n_stalls else 0.0
        self._run.searching_s += run_s
        self._push(now_s + run_s, self._reply, (replica, fan_out))

    def _reply(self, now_s: float, searched: tuple[Replica, FanOut]) -> None:
        replica, fan_out = searched
        replica.n_outstanding -= 1
        self._push(now_s + self._network_s(), self._gather, (replica.shard, fan_out))
        self._search(now_s, replica)

    def _gather(self, now_s: float, replied: tuple[int, FanOut]) -> None:
        """Take the reply of a shard, and answer once all have replied."""
        shard, fan_out = replied
        if shard not in fan_out.pending:
            return
        fan_out.pending.remove(shard)
        self._hedge.observe(fan_out.batch.level, now_s - fan_out.sent_s)
        if not fan_out.pending:
            self._answer(now_s, fan_out)

    def _give_up(self, now_s: float, fan_out: FanOut) -> None:
        """Answer without the shards that have not replied, if any has."""
        if fan_out.pending and len(fan_out.pending) < fan_out.n_asked:
            for request in fan_out.batch.requests():
                self._run.coverage[request.id] = fan_out.coverage
            fan_out.pending.clear()
            self._answer(now_s, fan_out)

    def _answer(self, now_s: float, fan_out: FanOut) -> None:
        router, batch = self._routers[fan_out.router], fan_out.batch
        router.scheduler.finish(batch, now_s - batch.started_s)
        self._run.outcomes += batch.outcomes(now_s)
        self._schedule(now_s, router)

    def _noisy(self, level: Level, batch: Batch) -> float:
        noise = self._settings.noise
        factor = self._rng.lognormal(-(noise**2) / 2, noise) if noise else 1.0
        return float(level.latency_s[len(batch.jobs)] * factor)

    def _network_s(self) -> float:
        return float(self._rng.exponential(self._settings.network_s)) if self._settings.network_s else 0.0
