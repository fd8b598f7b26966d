"""The scheduler under a virtual clock: discrete events, run times from a profile."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from elasticdenser.engine.arrivals import ClosedLoop, Times
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profile import Profile
from elasticdenser.engine.request import Batch, Outcome, Request, Status
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
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
        longest_run_s: Likewise.
        most_unfinished: Likewise.

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
    longest_run_s: float | None = None
    most_unfinished: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf or not 0 <= self.noise <= 2:
            message = f"got {self.seconds} s with noise {self.noise}"
            raise QueryError(f"{message}; expected seconds above 0 and noise from 0 to 2")

    def scheduler(self) -> SchedulerSettings:
        """Return the scheduler's settings."""
        return SchedulerSettings(
            slo_s=self.deadline_s,
            workers=self.workers,
            reserve_s=self.reserve_s,
            longest_run_s=self.longest_run_s,
            most_unfinished=self.most_unfinished,
        )


def simulate(
    profile: Profile, policy: str, arrivals: Times | ClosedLoop, settings: SimulationSettings
) -> list[Outcome]:
    """Simulate a policy, and return the outcome of every request, by the time of the outcome.

    Args:
        profile: Levels and run times.
        policy: As `make_policy` spells it.
        arrivals: Rising times, or clients that wait for their answers.
        settings: What is simulated.

    Raises:
        QueryError: The policy does not exist, or a setting is out of range.
    """
    return _Simulation(profile, policy, arrivals, settings).run()


class _Simulation:
    """Events are (time, number, finished batch or None for an arrival), in a heap."""

    def __init__(
        self, profile: Profile, policy: str, arrivals: Times | ClosedLoop, settings: SimulationSettings
    ) -> None:
        self._profile, self._settings = profile, settings
        chosen = make_policy(policy, profile, slo_s=settings.deadline_s, workers=settings.workers)
        self._scheduler = Scheduler(profile, chosen, settings.scheduler())
        self._rng = np.random.default_rng(settings.seed)
        self._clients = arrivals if isinstance(arrivals, ClosedLoop) else None
        starts = [0.0] * arrivals.clients if isinstance(arrivals, ClosedLoop) else arrivals.tolist()
        self._numbers = count()
        self._ids = count()
        self._events: list[tuple[float, int, Batch | None]] = [(at_s, next(self._numbers), None) for at_s in starts]
        self._outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        scheduler, events = self._scheduler, self._events
        heapq.heapify(events)
        while events:
            now_s, _, batch = heapq.heappop(events)
            if batch is None:
                self._arrive(now_s)
            else:
                self._note(scheduler.finished(batch, now_s, now_s - batch.started_s))
            while (batch := scheduler.schedule(now_s)) is not None:
                self._push(now_s + self._run_s(batch), batch)
            self._note(scheduler.take_shed())
        return self._outcomes

    def _arrive(self, now_s: float) -> None:
        number = next(self._ids)
        deadline_s = now_s + self._settings.deadline_s
        request = Request(id=number, query=number, arrival_s=now_s, deadline_s=deadline_s)
        try:
            self._scheduler.add(request)
        except OverloadedError:
            self._note([Outcome(request=request, status=Status.REFUSED, at_s=now_s)])

    def _run_s(self, batch: Batch) -> float:
        """Draw how long a batch runs."""
        settings = self._settings
        profiled_s = self._profile.levels[batch.place].latency_s[len(batch.jobs)]
        noise = self._rng.lognormal(-(settings.noise**2) / 2, settings.noise) if settings.noise else 1.0
        factors = [one.factor for one in settings.slowdowns if one.start_s <= batch.started_s < one.end_s]
        return float(profiled_s * noise * math.prod(factors))

    def _note(self, outcomes: list[Outcome]) -> None:
        """Keep outcomes; whoever waited for them thinks and asks again."""
        self._outcomes += outcomes
        if self._clients is None:
            return
        for outcome in outcomes:
            again_s = outcome.at_s + self._rng.exponential(self._clients.think_s or 1e-9)
            if outcome.level is None:  # a client that is turned away does not come back at once
                again_s += self._settings.deadline_s
            if again_s < self._settings.seconds:
                self._push(again_s, None)

    def _push(self, at_s: float, batch: Batch | None) -> None:
        heapq.heappush(self._events, (at_s, next(self._numbers), batch))
