"""When the client's requests are to be sent."""

from __future__ import annotations

import heapq
import math
from typing import Protocol

import numpy as np

from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times


class Source(Protocol):
    """Says when requests are to be sent, in seconds after the start.

    Attributes:
        waits: Whether it wants to learn when requests end.
    """

    waits: bool

    def take(self, now_s: float, most: int) -> list[float]:
        """Return the times of those that are due and were not taken yet, at most so many."""

    def next_s(self) -> float:
        """Return when the next one is due; infinity if there is none, as far as is known."""

    def ended(self, now_s: float, *, is_answered: bool) -> None:
        """Learn that a request has ended, and whether with an answer."""

    def stop(self) -> None:
        """Send no more."""


class OpenLoop:
    """Requests that come at their times, whatever became of those before.

    Args:
        times: Rising.
    """

    waits = False

    def __init__(self, times: Times) -> None:
        self._times: list[float] = times.tolist()
        self._at, self._end = 0, len(self._times)

    def take(self, now_s: float, most: int) -> list[float]:
        """See `Source`."""
        start, at, end = self._at, self._at, min(self._end, self._at + most)
        while at < end and self._times[at] <= now_s:
            at += 1
        self._at = at
        return self._times[start:at]

    def next_s(self) -> float:
        """See `Source`."""
        return self._times[self._at] if self._at < self._end else math.inf

    def ended(self, now_s: float, *, is_answered: bool) -> None:
        """See `Source`."""

    def stop(self) -> None:
        """See `Source`."""
        self._end = self._at


class Clients:
    """Clients that wait for their answer, think, and ask again.

    Args:
        loop: How many, and how long they think.
        seconds: They ask until then.
        turned_away_s: How much longer one waits that got no answer.
        seed: Of their thinking.
    """

    waits = True

    def __init__(self, loop: ClosedLoop, seconds: float, *, turned_away_s: float, seed: int = 0) -> None:
        self._think_s, self._seconds, self._turned_away_s = loop.think_s, seconds, turned_away_s
        self._times = [0.0] * loop.clients
        self._rng = np.random.default_rng(seed)

    def take(self, now_s: float, most: int) -> list[float]:
        """See `Source`."""
        taken: list[float] = []
        while self._times and self._times[0] <= now_s and len(taken) < most:
            taken.append(heapq.heappop(self._times))
        return taken

    def next_s(self) -> float:
        """See `Source`."""
        return self._times[0] if self._times else math.inf

    def ended(self, now_s: float, *, is_answered: bool) -> None:
        """See `Source`."""
        again_s = now_s + (float(self._rng.exponential(self._think_s)) if self._think_s else 0.0)
        if not is_answered:
            again_s += self._turned_away_s
        if again_s < self._seconds:
            heapq.heappush(self._times, again_s)

    def stop(self) -> None:
        """See `Source`."""
        self._times, self._seconds = [], 0.0
