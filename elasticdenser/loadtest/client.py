"""The client: sends requests at their times, counts what became of each, and says how late it was itself."""

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
from elasticdenser.loadtest.arrival_sources import Clients, OpenLoop, Source
from elasticdenser.loadtest.target import Asked, Reply, Target

_MOST_AT_ONCE = 256
_NAP_S = 0.05
_TICK_S = 0.0002
"""What is due within it goes together: at high rates a message for each would take more than the target does."""
_MEMORY_EVERY_S = 1.0
_LEAD_S = 0.02


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """What the client does.

    Args:
        deadline_s: Of each request, after it was to be sent.
        seconds: Length; for clients that wait.
        k: Hits wanted.
        drain_s: What has no answer so long after the last request is lost.
        seed: Of the order of the queries and of the clients' thinking.

    Raises:
        QueryError: A figure is out of range.
    """

    deadline_s: float
    seconds: float
    k: int = 10
    drain_s: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(0 < value < math.inf for value in (self.deadline_s, self.seconds, self.drain_s)) or self.k < 1:
            message = f"got a deadline of {self.deadline_s:g} s, {self.seconds:g} s, {self.drain_s:g} s, k = {self.k}"
            raise QueryError(f"{message}; expected all of them above 0")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of a run.

    Attributes:
        outcomes: One for each request, times since the start; by the time of the outcome.
        replies: What the target said of those that it answered, on the same clock.
        ways_in_s: float64, for each request in the order sent, the time from when it was to be sent until the target
            had it; NaN where that is not known.
        lags_s: float64, how late each request was sent.
        memory: What the target held, as (seconds, bytes).
        seconds: How long requests were sent.
        was_stopped: Whether it was stopped before its end.
    """

    outcomes: list[Outcome]
    replies: list[Reply]
    ways_in_s: Times
    lags_s: Times
    memory: list[tuple[float, int]]
    seconds: float
    was_stopped: bool

    @property
    def n_lost(self) -> int:
        """Requests of which nothing was heard again."""
        return sum(one.status is Status.LOST for one in self.outcomes)

    @property
    def lag_p99_s(self) -> float:
        """99th percentile of how late the client was."""
        return float(np.percentile(self.lags_s, 99)) if len(self.lags_s) else 0.0


def run_load(
    target: Target,
    arrivals: Times | ClosedLoop,
    queries: Sequence[str],
    settings: ClientSettings,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Run:
    """Put a target that was started under load, in the calling thread, and wait until all is answered or lost.

    Args:
        target: The target.
        arrivals: Rising times, or clients that wait for their answers.
        queries: Asked in turn, in an order of chance.
        settings: What the client does.
        is_stopped: Asked again and again; once it says so, no more is sent.

    Raises:
        QueryError: There are no queries.
        TargetError: The target has gone.
    """
    if not queries:
        raise QueryError("got no queries to ask; expected at least one")
    source: Source
    if isinstance(arrivals, ClosedLoop):
        source = Clients(arrivals, settings.seconds, turned_away_s=settings.deadline_s, seed=settings.seed)
    else:
        source = OpenLoop(arrivals)
    collects = gc.isenabled()
    gc.disable()  # a pause of the client would count as the target's
    try:
        return _Client(target, source, queries, settings).run(is_stopped)
    finally:
        if collects:
            gc.enable()


class _Client:
    """One run. While it lasts no more is done than must be: the target is on the same machine."""

    def __init__(self, target: Target, source: Source, queries: Sequence[str], settings: ClientSettings) -> None:
        self._target, self._source, self._settings = target, source, settings
        order = np.random.default_rng(settings.seed).permutation(len(queries)).tolist()
        self._queries = [queries[at] for at in order]
        self._due_s: list[float] = []  # of each request, by number
        self._sent_s: list[float] = []
        self._n_open = 0
        self._received: list[tuple[float, list[Reply]]] = []
        self._memory: list[tuple[float, int]] = []
        self._start_s = perf_counter() + _LEAD_S

    def run(self, is_stopped: Callable[[], bool]) -> Run:
        source, start_s, was_stopped = self._source, self._start_s, False
        while True:
            if not was_stopped and is_stopped():
                was_stopped = True
                source.stop()
            self._send()
            now_s = perf_counter() - start_s
            next_s = source.next_s()
            if next_s == math.inf and (not self._n_open or now_s > self._sent_until_s + self._settings.drain_s):
                break
            self._note_memory(now_s)
            replies = self._target.receive(min(max(next_s - now_s, _TICK_S), _NAP_S))
            if replies:
                self._take(replies, perf_counter() - start_s)
        return self._made(now_s, was_stopped)

    @property
    def _sent_until_s(self) -> float:
        return self._sent_s[-1] if self._sent_s else 0.0

    def _send(self) -> None:
        """Send what is due."""
        now_s = perf_counter() - self._start_s
        taken = self._source.take(now_s, _MOST_AT_ONCE)
        if not taken:
            return
        first, queries, k = len(self._due_s), self._queries, self._settings.k
        worthless_s = self._start_s + self._settings.deadline_s
        n = len(queries)
        asked = [Asked(number, queries[number % n], k, worthless_s + at_s) for number, at_s in enumerate(taken, first)]
        self._target.send(asked)
        self._due_s += taken
        self._sent_s += [now_s] * len(taken)
        self._n_open += len(taken)

    def _take(self, replies: list[Reply], now_s: float) -> None:
        self._received.append((now_s, replies))
        self._n_open -= len(replies)
        for reply in replies if self._source.waits else ():
            self._source.ended(now_s, is_answered=reply.level is not None)

    def _note_memory(self, now_s: float) -> None:
        if not self._memory or now_s >= self._memory[-1][0] + _MEMORY_EVERY_S:
            held = self._target.memory_bytes()
            if held is not None:
                self._memory.append((now_s, held))

    def _made(self, now_s: float, was_stopped: bool) -> Run:
        """Return the run, which is over."""
        deadline_s = self._settings.deadline_s
        still_open = {
            number: Request(id=number, query=number, arrival_s=at_s, deadline_s=at_s + deadline_s)
            for number, at_s in enumerate(self._due_s)
        }
        ways_in_s = np.full(len(still_open), math.nan)
        outcomes: list[Outcome] = []
        answers: list[Reply] = []
        for at_s, replies in self._received:
            for reply in replies:
                request = still_open.pop(reply.number, None)
                if request is None:
                    continue
                if reply.at_s:
                    came_s = reply.at_s - self._start_s - reply.ran_s - reply.queued_s
                    ways_in_s[reply.number] = max(0.0, came_s - request.arrival_s)
                if reply.level is not None:
                    answers.append(reply._replace(at_s=reply.at_s - self._start_s if reply.at_s else 0.0))
                outcomes.append(_outcome(request, reply, at_s))
        outcomes += [Outcome(request=one, status=Status.LOST, at_s=now_s) for one in still_open.values()]
        return Run(
            outcomes=outcomes,
            replies=answers,
            ways_in_s=ways_in_s,
            lags_s=np.subtract(self._sent_s, self._due_s),
            memory=self._memory,
            seconds=self._sent_until_s,
            was_stopped=was_stopped,
        )


def _outcome(request: Request, reply: Reply, at_s: float) -> Outcome:
    """Return how a request ended by the client's clock."""
    status = reply.status
    if reply.level is not None:
        status = Status.IN_TIME if at_s <= request.deadline_s else Status.LATE
    return Outcome(
        request=request,
        status=status,
        at_s=at_s,
        level=reply.level,
        batch_size=reply.batch_size,
        queued_s=reply.queued_s,
        ran_s=reply.ran_s,
    )
