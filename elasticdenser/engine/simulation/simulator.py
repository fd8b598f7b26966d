"""The scheduler under a virtual clock: discrete events, run times from a profile."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Batch, Outcome, Request, Status
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """A time during which the machine is slower than the profile says.

    Args:
        start_s: From then on.
        end_s: Until then.
        factor: Run times are multiplied by this.
    """

    start_s: float
    end_s: float
    factor: float


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What is simulated.

    Args:
        deadline_s: Each request's, after its arrival.
        seconds: Length; requests that are then in the engine are still served.
        workers: Number of workers.
        noise: Run times are multiplied by a log-normal factor of mean 1 whose logarithm has this standard deviation.
        slowdowns: When the machine is slower than its profile.
        seed: Of the noise and of the clients' thinking.
        reserve_s: As for `SchedulerSettings`.
        max_run_s: Likewise.
        max_unfinished: Likewise.
        way_in_s: Time from a client to the engine: its deadline is then so much nearer.
        way_out_s: Time from the end of a batch until its clients have their answers.
        pause_s: Time between two batches of a worker.
        n_queries: How many different queries there are, asked in turn: equal ones in flight are answered together.
            None makes every request's query its own.

    Raises:
        QueryError: A figure is out of range.
    """

    deadline_s: float
    seconds: float
    workers: int = 1
    noise: float = 0.1
    slowdowns: Sequence[Slowdown] = ()
    seed: int = 0
    reserve_s: float | None = None
    max_run_s: float | None = None
    max_unfinished: int = 1024
    way_in_s: float = 0.0
    way_out_s: float = 0.0
    pause_s: float = 0.0
    n_queries: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf or not 0 <= self.noise <= 2:
            message = f"got {self.seconds} s with noise {self.noise}"
            raise QueryError(f"{message}; expected seconds above 0 and noise from 0 to 2")
        if self.n_queries is not None and self.n_queries < 1:
            raise QueryError(f"got {self.n_queries} queries; expected at least one")

    def scheduler(self) -> SchedulerSettings:
        """Return the scheduler's settings."""
        return SchedulerSettings(
            slo_s=self.deadline_s,
            workers=self.workers,
            reserve_s=self.reserve_s,
            max_run_s=self.max_run_s,
            max_unfinished=self.max_unfinished,
        )


def simulate(
    profile: Profile,
    policy: str,
    arrivals: Times | ClosedLoop,
    settings: SimulationSettings,
    *,
    actual: Profile | None = None,
    ways: Ways | None = None,
) -> list[Outcome]:
    """Simulate a policy, and return the outcome of every request, by the time of the outcome.

    Args:
        profile: Levels and run times, as the scheduler knows them.
        policy: As `make_policy` spells it.
        arrivals: Rising times, or clients that wait for their answers.
        settings: What is simulated.
        actual: Run times as they are, of the same levels; None is as the scheduler knows them.
        ways: For each of the arrival times its own ways, in place of the settings'; not for clients that wait.

    Raises:
        QueryError: The policy does not exist, or a setting is out of range.
    """
    return _Simulation(profile, policy, arrivals, settings, actual or profile, ways).run()


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How long each request takes to the engine, and its answer back, in seconds; both float64."""

    in_s: Times
    out_s: Times


class _Rest:
    """The end of the pause that a worker makes after a batch."""


_REST = _Rest()


class _Simulation:
    """Events are (time, number, what), in a heap.

    That is a finished batch, the end of a worker's pause, or the time at which a request that now arrives was sent.
    Outcomes are told as the clients see them.
    """

    def __init__(
        self,
        profile: Profile,
        policy: str,
        arrivals: Times | ClosedLoop,
        settings: SimulationSettings,
        actual: Profile,
        ways: Ways | None,
    ) -> None:
        self._actual, self._settings = actual, settings
        chosen = make_policy(policy, profile, slo_s=settings.deadline_s, workers=settings.workers)
        self._scheduler = Scheduler(profile, chosen, settings.scheduler())
        self._rng = np.random.default_rng(settings.seed)
        self._clients = arrivals if isinstance(arrivals, ClosedLoop) else None
        starts = [0.0] * arrivals.clients if isinstance(arrivals, ClosedLoop) else arrivals.tolist()
        ways_in_s = [settings.way_in_s] * len(starts) if ways is None else ways.in_s.tolist()
        self._ways_out_s: list[float] = [] if ways is None else ways.out_s.tolist()
        self._numbers = count()  # those of the first arrivals are their places among the arrival times
        self._ids = count()
        self._n_resting = 0
        self._sent_s: dict[int, float] = {}
        self._events: list[tuple[float, int, Batch | _Rest | float]] = []
        for at_s, way_s in zip(starts, ways_in_s, strict=True):
            self._events.append((at_s + way_s, next(self._numbers), at_s))
        self._outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        scheduler, events, settings = self._scheduler, self._events, self._settings
        heapq.heapify(events)
        while events:
            now_s, number, event = heapq.heappop(events)
            if isinstance(event, float):
                self._arrive(number if self._clients is None else next(self._ids), now_s, event)
            elif isinstance(event, _Rest):
                self._n_resting -= 1
            else:
                scheduler.finished(event, now_s - event.started_s)
                self._note(event.outcomes(now_s))
                if settings.pause_s:
                    self._n_resting += 1
                    self._push(now_s + settings.pause_s, _REST)
            while scheduler.n_running + self._n_resting < settings.workers and (batch := scheduler.schedule(now_s)):
                self._push(now_s + self._run_s(batch), batch)
            scheduler.expire(now_s)
            self._note(scheduler.take_shed())
        return self._outcomes

    def _arrive(self, number: int, now_s: float, sent_s: float) -> None:
        deadline_s = sent_s + self._settings.deadline_s
        n_queries = self._settings.n_queries
        query = number if n_queries is None else number % n_queries
        request = Request(id=number, query=query, arrival_s=now_s, deadline_s=deadline_s)
        if sent_s != now_s:
            self._sent_s[number] = sent_s
        try:
            self._scheduler.add(request)
        except OverloadedError:
            self._note([Outcome(request=request, status=Status.REFUSED, at_s=now_s)])

    def _run_s(self, batch: Batch) -> float:
        """Draw how long a batch runs."""
        settings = self._settings
        mean_s = self._actual.levels[batch.place].latency_s[len(batch.jobs)]
        noise = self._rng.lognormal(-(settings.noise**2) / 2, settings.noise) if settings.noise else 1.0
        factors = [one.factor for one in settings.slowdowns if one.start_s <= batch.started_s < one.end_s]
        return float(mean_s * noise * math.prod(factors))

    def _note(self, outcomes: list[Outcome]) -> None:
        """Keep outcomes; whoever waited for them thinks and asks again."""
        if self._sent_s or self._ways_out_s or self._settings.way_out_s:
            outcomes = list(map(self._as_client_sees, outcomes))
        self._outcomes += outcomes
        if self._clients is None:
            return
        for outcome in outcomes:
            again_s = outcome.at_s + self._rng.exponential(self._clients.think_s or 1e-9)
            if outcome.level is None:  # a client that is turned away does not come back at once
                again_s += self._settings.deadline_s
            if again_s < self._settings.seconds:
                self._push(again_s + self._settings.way_in_s, again_s)

    def _as_client_sees(self, outcome: Outcome) -> Outcome:
        request, settings = outcome.request, self._settings
        way_out_s = self._ways_out_s[request.id] if self._ways_out_s else settings.way_out_s
        at_s, status = outcome.at_s + way_out_s, outcome.status
        if status is Status.IN_TIME and at_s > request.deadline_s:
            status = Status.LATE
        asked = replace(request, arrival_s=self._sent_s.pop(request.id, request.arrival_s))
        return replace(outcome, request=asked, at_s=at_s, status=status)

    def _push(self, at_s: float, event: Batch | _Rest | float) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), event))
