"""Load generator: sends requests on schedule, records their outcomes, and measures its own lateness."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from elasticdenser.engine.request import Outcome, Request, Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.errors import QueryError
from elasticdenser.loadtest.arrival_process import ArrivalProcess, ClosedLoopArrivals, OpenLoopArrivals
from elasticdenser.loadtest.target import LoadRequest, LoadResponse, Target

_MAX_REQUESTS_PER_SEND = 256
"""Under overload, responses must still be received between sends."""

_MAX_WAIT_S = 0.05
"""`is_stopped` is called at least this often."""

_SEND_INTERVAL_S = 0.0002
"""Requests due within this time are sent together: at high rates, a message for each would cost more than a search."""

_MEMORY_INTERVAL_S = 1.0
_LEAD_S = 0.02
"""Time between the set-up and the first scheduled request, so that the first requests are not late."""


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """Settings of the load generator.

    Args:
        deadline_s: Deadline of each request, in seconds after its scheduled time.
        seconds: Length of a run with a closed loop; an open loop ends with its arrival times.
        k: Number of hits of each request.
        drain_s: Requests without a response so long after the last one was sent count as lost.
        seed: Seed of the order of the queries, and of the clients' think times.

    Raises:
        QueryError: A setting is out of range.
    """

    deadline_s: float
    seconds: float
    k: int = 10
    drain_s: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("deadline_s", "seconds", "drain_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise QueryError(f"got {name} = {getattr(self, name):g}; expected seconds above 0")
        if self.k < 1:
            raise QueryError(f"got k = {self.k}; expected at least 1")


@dataclass(frozen=True, kw_only=True)
class LoadRun:
    """Record of one run. All times are seconds after its start.

    Attributes:
        outcomes: One outcome for each request, in the order of their ends.
        responses: Responses with an answer, as the target sent them.
        delays_in_s: float64, (n_requests,): from the scheduled time of each request until the target had it; NaN if
            unknown.
        lateness_s: float64, (n_requests,): from the scheduled time of each request until it was sent.
        memory: Memory that the target held, as (seconds, bytes).
        seconds: Time at which the last request was sent.
        was_stopped: Whether the run was stopped before its end.
    """

    outcomes: list[Outcome]
    responses: list[LoadResponse]
    delays_in_s: Times
    lateness_s: Times
    memory: list[tuple[float, int]]
    seconds: float
    was_stopped: bool

    @property
    def n_lost(self) -> int:
        """Requests without a response."""
        return sum(outcome.status is Status.LOST for outcome in self.outcomes)

    @property
    def lateness_p99_s(self) -> float:
        """99th percentile of the lateness of the load generator."""
        return float(np.percentile(self.lateness_s, 99)) if len(self.lateness_s) else 0.0


def run_load(
    target: Target,
    arrivals: Times | ClosedLoop,
    queries: Sequence[str],
    settings: LoadSettings,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> LoadRun:
    """Put a started target under load, and return when all requests are answered or lost. Blocks the calling thread.

    Args:
        target: The target.
        arrivals: Times of arrival, rising (open loop), or clients that wait for their answers (closed loop).
        queries: The queries, sent in turn in a random order.
        settings: Settings of the load generator.
        is_stopped: Called many times a second; no more requests are sent after it returns True.

    Raises:
        QueryError: There are no queries.
        TargetError: The target has ended.
    """
    if not queries:
        raise QueryError("got no queries; expected at least one")
    process: ArrivalProcess
    if isinstance(arrivals, ClosedLoop):
        process = ClosedLoopArrivals(
            arrivals, settings.seconds, rejection_pause_s=settings.deadline_s, seed=settings.seed
        )
    else:
        process = OpenLoopArrivals(arrivals)
    was_enabled = gc.isenabled()
    gc.disable()  # a pause of the load generator would count as latency of the target
    try:
        return _LoadGenerator(target, process, queries, settings).run(is_stopped)
    finally:
        if was_enabled:
            gc.enable()


class _LoadGenerator:
    """Load generator of one run.

    It only collects what it sends and receives: evaluating it during the run would take time from the target, which
    runs on the same machine.
    """

    def __init__(self, target: Target, process: ArrivalProcess, queries: Sequence[str], settings: LoadSettings) -> None:
        self._target, self._process, self._settings = target, process, settings
        order = np.random.default_rng(settings.seed).permutation(len(queries)).tolist()
        self._queries = [queries[position] for position in order]
        self._scheduled_s: list[float] = []  # by number of the request, as is the next list
        self._sent_s: list[float] = []
        self._n_open = 0
        self._received: list[tuple[float, list[LoadResponse]]] = []
        self._memory: list[tuple[float, int]] = []
        self._start_s = perf_counter() + _LEAD_S

    def run(self, is_stopped: Callable[[], bool]) -> LoadRun:
        process, start_s, was_stopped = self._process, self._start_s, False
        while True:
            if not was_stopped and is_stopped():
                was_stopped = True
                process.stop()
            self._send_due()
            now_s = perf_counter() - start_s
            next_s = process.next_s()
            if next_s == math.inf and (not self._n_open or now_s > self._last_sent_s + self._settings.drain_s):
                break
            self._sample_memory(now_s)
            responses = self._target.receive(min(max(next_s - now_s, _SEND_INTERVAL_S), _MAX_WAIT_S))
            if responses:
                self._collect(responses, perf_counter() - start_s)
        return self._evaluate(now_s, was_stopped)

    @property
    def _last_sent_s(self) -> float:
        return self._sent_s[-1] if self._sent_s else 0.0

    def _send_due(self) -> None:
        now_s = perf_counter() - self._start_s
        due_s = self._process.take_due(now_s, _MAX_REQUESTS_PER_SEND)
        if not due_s:
            return
        queries, n_queries, k = self._queries, len(self._queries), self._settings.k
        offset_s = self._start_s + self._settings.deadline_s
        requests = [
            LoadRequest(number, queries[number % n_queries], k, offset_s + scheduled_s)
            for number, scheduled_s in enumerate(due_s, len(self._scheduled_s))
        ]
        self._target.send(requests)
        self._scheduled_s += due_s
        self._sent_s += [now_s] * len(due_s)
        self._n_open += len(due_s)

    def _collect(self, responses: list[LoadResponse], now_s: float) -> None:
        self._received.append((now_s, responses))
        self._n_open -= len(responses)
        for response in responses if self._process.is_closed_loop else ():
            self._process.request_ended(now_s, is_answered=response.level is not None)

    def _sample_memory(self, now_s: float) -> None:
        if not self._memory or now_s >= self._memory[-1][0] + _MEMORY_INTERVAL_S:
            n_bytes = self._target.memory_bytes()
            if n_bytes is not None:
                self._memory.append((now_s, n_bytes))

    def _evaluate(self, now_s: float, was_stopped: bool) -> LoadRun:
        """Return the record of the run, which has ended."""
        deadline_s = self._settings.deadline_s
        open_requests = {
            number: Request(id=number, query=number, arrival_s=scheduled_s, deadline_s=scheduled_s + deadline_s)
            for number, scheduled_s in enumerate(self._scheduled_s)
        }
        delays_in_s = np.full(len(open_requests), math.nan)
        outcomes: list[Outcome] = []
        answered: list[LoadResponse] = []
        for received_s, responses in self._received:
            for response in responses:
                request = open_requests.pop(response.number, None)
                if request is None:
                    continue
                finished_s = response.finished_s - self._start_s if response.finished_s else 0.0
                if response.finished_s:
                    arrived_s = finished_s - response.ran_s - response.queued_s
                    delays_in_s[response.number] = max(0.0, arrived_s - request.arrival_s)
                if response.level is not None:
                    answered.append(response._replace(finished_s=finished_s))
                outcomes.append(_outcome(request, response, received_s))
        outcomes += [Outcome(request=request, status=Status.LOST, at_s=now_s) for request in open_requests.values()]
        return LoadRun(
            outcomes=outcomes,
            responses=answered,
            delays_in_s=delays_in_s,
            lateness_s=np.subtract(self._sent_s, self._scheduled_s),
            memory=self._memory,
            seconds=self._last_sent_s,
            was_stopped=was_stopped,
        )


def _outcome(request: Request, response: LoadResponse, received_s: float) -> Outcome:
    """Return the outcome of a request by the clock of the load generator."""
    status = response.status
    if response.level is not None:
        status = Status.IN_TIME if received_s <= request.deadline_s else Status.LATE
    return Outcome(
        request=request,
        status=status,
        at_s=received_s,
        level=response.level,
        batch_size=response.batch_size,
        queued_s=response.queued_s,
        ran_s=response.ran_s,
    )
