"""Settings of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdenser.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """Settings of the scheduler.

    Args:
        slo_s: Default deadline, in seconds after arrival (service level objective).
        workers: Number of batches that can run at once.
        reserve_s: Time kept free before each deadline for delays that no profile predicts; None is a tenth of
            `slo_s`, at most 10 ms.
        max_run_s: Longest run time of a batch of several jobs, as a running batch cannot be interrupted; None is half
            of `slo_s`, so that a request that just misses one batch can still be served by the next.
        max_unfinished: Maximum number of requests in the engine.

    Raises:
        QueryError: A value is out of range.
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
        """The reserve in seconds, with the default resolved."""
        return min(self.slo_s / 10, 0.01) if self.reserve_s is None else self.reserve_s

    @property
    def max_run(self) -> float:
        """The longest run time in seconds, with the default resolved."""
        return self.slo_s / 2 if self.max_run_s is None else self.max_run_s
