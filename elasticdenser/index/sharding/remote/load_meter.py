"""Mean load of a replica, by which replicas are added."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class LoadMeter:
    """Mean number of requests that a replica searches or that wait for it, over time. Thread-safe.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._n_running, self._n_waiting = 0, 0.0
        self._since_s = self._updated_s = clock()
        self._request_seconds = 0.0

    @contextmanager
    def running(self, n_waiting: float) -> Iterator[None]:
        """Count a request while it is searched; `n_waiting` others waited for this replica when it began."""
        with self._lock:
            self._advance()
            self._n_running, self._n_waiting = self._n_running + 1, n_waiting
        try:
            yield
        finally:
            with self._lock:
                self._advance()
                self._n_running -= 1
                if not self._n_running:  # nothing waits for a replica that is idle
                    self._n_waiting = 0.0

    def take_mean(self) -> float:
        """Return the mean since the last call."""
        with self._lock:
            self._advance()
            elapsed_s = self._updated_s - self._since_s
            mean = self._request_seconds / elapsed_s if elapsed_s > 0 else 0.0
            self._since_s, self._request_seconds = self._updated_s, 0.0
        return mean

    def _advance(self) -> None:
        now_s = self._clock()
        self._request_seconds += (now_s - self._updated_s) * (self._n_running + self._n_waiting)
        self._updated_s = now_s
