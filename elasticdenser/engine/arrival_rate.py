"""Rate at which requests arrive."""

from __future__ import annotations

from collections import deque

WINDOW_S = 0.1
"""Length of the window in which arrivals are counted."""


class ArrivalRate:
    """Arrivals per second over a sliding window.

    Args:
        window_s: Length of the window.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self.window_s = window_s
        self._times_s: deque[float] = deque()

    def count(self, now_s: float) -> None:
        """Count an arrival; safe to call from several threads."""
        self._times_s.append(now_s)

    def per_s(self, now_s: float) -> float:
        """Return the rate."""
        self.evict(now_s)
        return len(self._times_s) / self.window_s

    def evict(self, now_s: float) -> None:
        """Drop the arrivals that have left the window."""
        times_s, oldest_s = self._times_s, now_s - self.window_s
        while times_s and times_s[0] <= oldest_s:
            times_s.popleft()
