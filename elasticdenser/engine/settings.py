"""How the scheduler works."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdenser.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """How the scheduler works.

    Args:
        slo_s: The usual deadline, in seconds after arrival.
        workers: How many batches can run at once.
        reserve_s: Time kept free before each deadline, for what no profile foresees; None is a tenth of `slo_s`,
            at most 10 ms.
        max_run_s: A batch cannot be interrupted, so none of several jobs may take longer; None is half of `slo_s`:
            who just misses a batch still finds time for the next.
        max_unfinished: Requests that may be in the engine at once.

    Raises:
        QueryError: A figure is out of range.
    """

    slo_s: float
    workers: int = 1
    reserve_s: float | None = None
    max_run_s: float | None = None
    max_unfinished: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.slo_s < float("inf"):
            raise QueryError(f"got slo_s = {self.slo_s}; expected seconds above 0, such as 0.025")
        if self.workers < 1 or self.max_unfinished < 1:
            message = f"got workers = {self.workers} and max_unfinished = {self.max_unfinished}"
            raise QueryError(f"{message}; expected at least 1 of each")
        if not ((self.reserve_s or 0.0) >= 0 and (self.max_run_s or 0.0) >= 0):
            message = f"got reserve_s = {self.reserve_s} and max_run_s = {self.max_run_s}"
            raise QueryError(f"{message}; expected seconds of at least 0, or None")

    @property
    def reserve(self) -> float:
        """The reserve, in seconds."""
        return min(self.slo_s / 10, 0.01) if self.reserve_s is None else self.reserve_s

    @property
    def max_run(self) -> float:
        """The longest run, in seconds."""
        return self.slo_s / 2 if self.max_run_s is None else self.max_run_s
