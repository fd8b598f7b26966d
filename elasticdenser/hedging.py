"""Delay after which a request to one replica is sent to a second one, too (Dean and Barroso, 2013)."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

from elasticdenser.errors import QueryError

_WINDOW = 256
"""Replies that the percentile is taken of: seconds of load, so that it follows what the machines do now."""
_MIN_REPLIES = 32
"""Before so many replies nothing is hedged: the percentile would be that of a few first, slow calls."""


class HedgeDelay:
    """Percentile of the times of the latest replies, by kind of request. Not thread-safe. It reads no clock.

    A second request after the 95th percentile adds at most one request in twenty, and waits no longer for a replica
    that is slow by chance.

    Args:
        percentile: Percentile after which a second request is sent, such as 95; None never sends one.

    Raises:
        QueryError: The percentile is not above 0 and below 100.
    """

    def __init__(self, percentile: float | None) -> None:
        if percentile is not None and not 0 < percentile < 100:
            raise QueryError(f"got a percentile of {percentile:g} to hedge after; expected above 0 and below 100")
        self._share = None if percentile is None else percentile / 100
        self._latest: dict[str, deque[float]] = {}
        self._ordered: dict[str, list[float]] = {}

    def observe(self, kind: str, seconds: float) -> None:
        """Record the time of a first reply to a request of a kind, such as a search at one level."""
        if self._share is None:
            return
        latest, ordered = self._latest.setdefault(kind, deque()), self._ordered.setdefault(kind, [])
        latest.append(seconds)
        insort(ordered, seconds)
        if len(latest) > _WINDOW:
            del ordered[bisect_left(ordered, latest.popleft())]

    def delay_s(self, kind: str) -> float:
        """Return how long to wait for a reply of a kind before a second request is sent; infinity for ever."""
        ordered = self._ordered.get(kind, ())
        if self._share is None or len(ordered) < _MIN_REPLIES:
            return math.inf
        return ordered[min(len(ordered) - 1, int(self._share * len(ordered)))]
