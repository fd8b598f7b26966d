"""Arrival processes: when the load generator sends its requests."""

from __future__ import annotations

import heapq
import math
from typing import Protocol

import numpy as np

from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times


class ArrivalProcess(Protocol):
    """Schedule of requests. All times are seconds after the start of the run.

    Attributes:
        is_closed_loop: Whether later arrivals depend on when requests end.
    """

    is_closed_loop: bool

    def take_due(self, now_s: float, limit: int) -> list[float]:
        """Return the times of the next requests that are due, at most `limit`; each is returned once."""

    def next_s(self) -> float:
        """Return the time of the next request; infinity if none is scheduled."""

    def request_ended(self, now_s: float, *, is_answered: bool) -> None:
        """Tell a closed loop that a request has ended."""

    def stop(self) -> None:
        """Schedule no more requests."""


class OpenLoopArrivals:
    """Arrivals at fixed times, whatever becomes of the earlier requests. See `ArrivalProcess`.

    Args:
        times: Times of arrival, float64, rising.
    """

    is_closed_loop = False

    def __init__(self, times: Times) -> None:
        self._times: list[float] = times.tolist()
        self._next, self._end = 0, len(self._times)

    def take_due(self, now_s: float, limit: int) -> list[float]:
        """See `ArrivalProcess`."""
        start, end = self._next, min(self._end, self._next + limit)
        while self._next < end and self._times[self._next] <= now_s:
            self._next += 1
        return self._times[start : self._next]

    def next_s(self) -> float:
        """See `ArrivalProcess`."""
        return self._times[self._next] if self._next < self._end else math.inf

    def request_ended(self, now_s: float, *, is_answered: bool) -> None:
        """See `ArrivalProcess`."""

    def stop(self) -> None:
        """See `ArrivalProcess`."""
        self._end = self._next


class ClosedLoopArrivals:
    """Arrivals from clients that wait for their answer, think, and send the next request. See `ArrivalProcess`.

    Args:
        loop: Number of clients, and their think time.
        seconds: Time after which the clients send no more.
        rejection_pause_s: Pause of a client whose request was not answered, in addition to its think time.
        seed: Seed of the think times.
    """

    is_closed_loop = True

    def __init__(self, loop: ClosedLoop, seconds: float, *, rejection_pause_s: float, seed: int = 0) -> None:
        self._think_s, self._seconds, self._rejection_pause_s = loop.think_s, seconds, rejection_pause_s
        self._times = [0.0] * loop.clients  # a heap
        self._rng = np.random.default_rng(seed)

    def take_due(self, now_s: float, limit: int) -> list[float]:
        """See `ArrivalProcess`."""
        due: list[float] = []
        while self._times and self._times[0] <= now_s and len(due) < limit:
            due.append(heapq.heappop(self._times))
        return due

    def next_s(self) -> float:
        """See `ArrivalProcess`."""
        return self._times[0] if self._times else math.inf

    def request_ended(self, now_s: float, *, is_answered: bool) -> None:
        """See `ArrivalProcess`."""
        next_s = now_s + (float(self._rng.exponential(self._think_s)) if self._think_s else 0.0)
        if not is_answered:
            next_s += self._rejection_pause_s
        if next_s < self._seconds:
            heapq.heappush(self._times, next_s)

    def stop(self) -> None:
        """See `ArrivalProcess`."""
        self._times, self._seconds = [], 0.0
