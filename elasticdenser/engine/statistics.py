"""Counts of requests, answers and batches since the start of an engine."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Outcome, Status


class Statistics:
    """Counts of requests by final state, answers by level, and batches by size.

    Only `count_rejection` may be called without the engine's lock.

    Args:
        profile: The levels.

    Attributes:
        levels: Number of answers by level, best level first.
        batches: Number of answered batches by batch size.
    """

    def __init__(self, profile: Profile) -> None:
        self.levels = {level.name: 0 for level in profile.levels}
        self.batches: dict[int, int] = {}
        self._statuses: dict[Status, int] = {status: 0 for status in Status if status is not Status.LOST}
        self._rejection_lock = threading.Lock()  # not the engine's lock, which the workers need

    @property
    def statuses(self) -> dict[str, int]:
        """Number of requests by final state."""
        return {status.value: n for status, n in self._statuses.items()}

    def count_batch(self, size: int) -> None:
        """Count an answered batch."""
        self.batches[size] = self.batches.get(size, 0) + 1

    def count_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Count requests that have ended after they were admitted."""
        for outcome in outcomes:
            self._statuses[outcome.status] += 1
            if outcome.level is not None:
                self.levels[outcome.level] += 1

    def count_rejection(self) -> None:
        """Count a request that was rejected on arrival."""
        with self._rejection_lock:
            self._statuses[Status.REFUSED] += 1
