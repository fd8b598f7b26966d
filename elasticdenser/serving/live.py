"""The last minute, sampled four times a second, for the page."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from elasticdenser.engine.answers import Snapshot
from elasticdenser.engine.engine import RetrievalEngine

EVERY_S = 0.25
KEPT = 240
_MOST_LATENCIES = 4096
_TURNED_AWAY = ("refused", "shed", "failed")


class Live:
    """A bounded ring of samples; used by the event loop alone.

    Args:
        engine: What is sampled.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._samples: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._latencies_s: deque[float] = deque(maxlen=_MOST_LATENCIES)
        self._number = 0
        self._before = engine.snapshot()

    def answered(self, seconds: float) -> None:
        """Take in how long a query took."""
        self._latencies_s.append(seconds)

    def sample(self) -> None:
        """Add a sample of what happened since the last one."""
        now, before = self._engine.snapshot(), self._before
        latencies_s = sorted(self._latencies_s)
        self._latencies_s.clear()
        self._samples.append(
            {
                "number": self._number,
                "answered": sum(now.levels.values()) - sum(before.levels.values()),
                "turned_away": _turned_away(now) - _turned_away(before),
                "waiting": now.n_waiting,
                "p50_ms": _percentile_ms(latencies_s, 0.5),
                "p99_ms": _percentile_ms(latencies_s, 0.99),
                "levels": [n - before.levels[level] for level, n in now.levels.items()],
            }
        )
        self._number, self._before = self._number + 1, now

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the samples from that number on, as far as they are kept."""
        first = self._number - len(self._samples)
        skipped = max(0, number - first)
        # A number from before a restart is larger than any.
        return list(self._samples)[skipped:] if number <= self._number else list(self._samples)


def _turned_away(snapshot: Snapshot) -> int:
    return sum(snapshot.statuses[status] for status in _TURNED_AWAY)


def _percentile_ms(rising_s: Sequence[float], share: float) -> float | None:
    return round(1000 * rising_s[min(len(rising_s) - 1, int(share * len(rising_s)))], 3) if rising_s else None
