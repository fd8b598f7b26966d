"""Simulator: the scheduler under a virtual clock, with discrete events and run times from a profile."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace
from itertools import count

import numpy as np

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.policies import Policy, PolicyFactory, make_policy
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Batch, Outcome, Request, Status
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.engine.simulation.settings import Delays, SimulationSettings

_MIN_PAUSE_S = 1e-9
"""Mean pause of clients that do not pause: the clock must advance between the requests of a client."""


def simulate(
    profile: Profile,
    policy: str | Policy | PolicyFactory,
    arrivals: Times | ClosedLoop,
    settings: SimulationSettings,
    *,
    actual: Profile | None = None,
    delays: Delays | None = None,
) -> list[Outcome]:
    """Simulate a policy, and return the outcome of every request, in the order in which the requests end.

    Args:
        profile: Levels and run times, as the scheduler knows them.
        policy: A name, a policy, or a factory of policies, as for `make_policy`.
        arrivals: Arrival times, or clients that wait for their answers.
        settings: The settings.
        actual: Actual run times of the same levels; None for those that the scheduler knows.
        delays: Delays of each request, in place of those in the settings; not for clients that wait.

    Raises:
        QueryError: The policy does not exist, or a setting is out of range.
    """
    scheduler_settings = settings.scheduler_settings()
    scheduler = Scheduler(profile, make_policy(policy, profile, scheduler_settings), scheduler_settings)
    return _Simulation(scheduler, arrivals, settings, actual or profile, delays).run()


class _PauseEnd:
    """Event: a worker has made its pause after a batch."""


_PAUSE_END = _PauseEnd()


class _Simulation:
    """One simulation.

    Events are (time, number, event) in a heap. An event is a finished batch, the end of a worker's pause, or, for the
    arrival of a request, the time at which it was sent. Outcomes are recorded as the clients see them.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        arrivals: Times | ClosedLoop,
        settings: SimulationSettings,
        actual: Profile,
        delays: Delays | None,
    ) -> None:
        self._scheduler, self._settings, self._actual = scheduler, settings, actual
        self._rng = np.random.default_rng(settings.seed)
        self._clients = arrivals if isinstance(arrivals, ClosedLoop) else None
        sent_s = [0.0] * arrivals.clients if isinstance(arrivals, ClosedLoop) else arrivals.tolist()
        delays_in_s = [settings.delay_in_s] * len(sent_s) if delays is None else delays.in_s.tolist()
        self._delays_out_s: list[float] = [] if delays is None else delays.out_s.tolist()
        self._event_numbers = count()  # the first ones are also the positions of the requests in `arrivals`
        self._client_request_ids = count()
        self._n_pausing = 0
        self._sent_s: dict[int, float] = {}
        self._events: list[tuple[float, int, Batch | _PauseEnd | float]] = []
        for start_s, delay_s in zip(sent_s, delays_in_s, strict=True):
            self._events.append((start_s + delay_s, next(self._event_numbers), start_s))
        self._outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        scheduler, events, settings = self._scheduler, self._events, self._settings
        heapq.heapify(events)
        while events:
            now_s, number, event = heapq.heappop(events)
            if isinstance(event, float):
                self._arrive(number if self._clients is None else next(self._client_request_ids), now_s, event)
            elif isinstance(event, _PauseEnd):
                self._n_pausing -= 1
            else:
                scheduler.finish(event, now_s - event.started_s)
                self._record(event.outcomes(now_s))
                if settings.pause_s:
                    self._n_pausing += 1
                    self._push(now_s + settings.pause_s, _PAUSE_END)
            while scheduler.n_running + self._n_pausing < settings.workers and (batch := scheduler.schedule(now_s)):
                self._push(now_s + self._run_s(batch), batch)
            scheduler.expire(now_s)
            self._record(scheduler.take_shed())
        return self._outcomes

    def _arrive(self, number: int, now_s: float, sent_s: float) -> None:
        deadline_s = sent_s + self._settings.deadline_s
        n_queries = self._settings.n_queries
        query = number if n_queries is None else number % n_queries
        n_tokens = self._settings.n_tokens[query % len(self._settings.n_tokens)]
        request = Request(id=number, query=query, arrival_s=now_s, deadline_s=deadline_s, n_tokens=n_tokens)
        if sent_s != now_s:
            self._sent_s[number] = sent_s
        try:
            self._scheduler.add(request)
        except OverloadedError:
            self._record([Outcome(request=request, status=Status.REFUSED, end_s=now_s)])

    def _run_s(self, batch: Batch) -> float:
        """Draw the run time of a batch."""
        settings, level = self._settings, self._actual.levels[batch.level_index]
        mean_s = level.latency_s[len(batch.jobs)]
        mean_s += sum(level.extra_s(job.requests[0].n_tokens) for job in batch.jobs)
        noise = self._rng.lognormal(-(settings.noise**2) / 2, settings.noise) if settings.noise else 1.0
        factors = [slow.factor for slow in settings.slowdowns if slow.start_s <= batch.started_s < slow.end_s]
        return float(mean_s * noise * math.prod(factors))

    def _record(self, outcomes: list[Outcome]) -> None:
        """Record outcomes, and let the clients that waited for them send their next requests."""
        if self._sent_s or self._delays_out_s or self._settings.delay_out_s:
            outcomes = list(map(self._as_seen_by_client, outcomes))
        self._outcomes += outcomes
        if self._clients is None:
            return
        for outcome in outcomes:
            next_s = outcome.end_s + self._rng.exponential(self._clients.think_s or _MIN_PAUSE_S)
            if outcome.level is None:  # a client whose request was rejected does not try again at once
                next_s += self._settings.deadline_s
            if next_s < self._settings.seconds:
                self._push(next_s + self._settings.delay_in_s, next_s)

    def _as_seen_by_client(self, outcome: Outcome) -> Outcome:
        request, settings = outcome.request, self._settings
        delay_s = self._delays_out_s[request.id] if self._delays_out_s else settings.delay_out_s
        end_s, status = outcome.end_s + delay_s, outcome.status
        if status is Status.IN_TIME and end_s > request.deadline_s:
            status = Status.LATE
        sent = replace(request, arrival_s=self._sent_s.pop(request.id, request.arrival_s))
        return replace(outcome, request=sent, end_s=end_s, status=status)

    def _push(self, time_s: float, event: Batch | _PauseEnd | float) -> None:
        heapq.heappush(self._events, (time_s, next(self._event_numbers), event))
