"""Samples of the last minute, taken four times a second, for the live view of the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from elasticdenser.engine.answers import Snapshot
from elasticdenser.engine.engine import RetrievalEngine

SAMPLE_INTERVAL_S = 0.25
MAX_SAMPLES = 240
"""One minute of samples."""

_MAX_LATENCIES = 4096
"""Latencies of one sample: a bound on memory, above what a server answers within a quarter of a second."""

_UNANSWERED = ("refused", "shed", "failed")


class RecentSamples:
    """Ring buffer of samples. Not thread-safe: only the event loop uses it.

    Args:
        engine: The engine that is sampled.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._samples: deque[dict[str, Any]] = deque(maxlen=MAX_SAMPLES)
        self._latencies_s: deque[float] = deque(maxlen=_MAX_LATENCIES)
        self._next_number = 0
        self._previous = engine.snapshot()

    def record_latency(self, latency_s: float) -> None:
        """Add the latency of an answer to the next sample."""
        self._latencies_s.append(latency_s)

    def add_sample(self) -> None:
        """Add a sample of what happened since the previous one."""
        current, previous = self._engine.snapshot(), self._previous
        latencies_s = sorted(self._latencies_s)
        self._latencies_s.clear()
        self._samples.append(
            {
                "number": self._next_number,
                "answered": sum(current.levels.values()) - sum(previous.levels.values()),
                "turned_away": _n_unanswered(current) - _n_unanswered(previous),
                "waiting": current.n_waiting,
                "p50_ms": _percentile_ms(latencies_s, 0.5),
                "p99_ms": _percentile_ms(latencies_s, 0.99),
                "levels": [n - previous.levels[level] for level, n in current.levels.items()],
            }
        )
        self._next_number, self._previous = self._next_number + 1, current

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the samples that are still held, from a number on."""
        if number > self._next_number:  # the client saw the numbers of a server that has been restarted
            return list(self._samples)
        first_number = self._next_number - len(self._samples)
        return list(self._samples)[max(0, number - first_number) :]


def _n_unanswered(snapshot: Snapshot) -> int:
    return sum(snapshot.statuses[status] for status in _UNANSWERED)


def _percentile_ms(sorted_s: Sequence[float], share: float) -> float | None:
    if not sorted_s:
        return None
    return round(1000 * sorted_s[min(len(sorted_s) - 1, int(share * len(sorted_s)))], 3)
