"""Settings of a simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.simulation.arrivals import Times
from elasticdenser.errors import QueryError


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """Period in which the machine is slower than the profile.

    Args:
        start_s: Start of the period.
        end_s: End of the period.
        factor: Factor for run times.
    """

    start_s: float
    end_s: float
    factor: float


@dataclass(frozen=True, kw_only=True)
class Delays:
    """Delay of each request to the engine, and of its answer back to the client.

    Args:
        in_s: Delays of the requests, float64, in the order of arrival.
        out_s: Delays of the answers, float64, in the same order.
    """

    in_s: Times
    out_s: Times


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """Settings of a simulation.

    Args:
        deadline_s: Deadline of each request, after it was sent.
        seconds: Length; requests that are in the engine at the end are still served.
        workers: Number of workers.
        noise: Run times are multiplied by a log-normal factor of mean 1; this is the standard deviation of its
            logarithm.
        slowdowns: Periods in which the machine is slower than its profile.
        seed: Seed of the noise and of the clients' pauses.
        reserve_s: As for `SchedulerSettings`.
        max_run_s: As for `SchedulerSettings`.
        max_unfinished: As for `SchedulerSettings`.
        delay_in_s: Delay from a client to the engine, which shortens the time that is left until the deadline.
        delay_out_s: Delay from the end of a batch until its clients have their answers.
        pause_s: Time between two batches of a worker.
        n_queries: Number of different queries, used in turn; equal ones in the engine are answered together. None
            makes all queries different.
        n_tokens: Lengths of the queries in tokens, used in turn; None in it is a query of usual length.

    Raises:
        QueryError: A value is out of range.
    """

    deadline_s: float
    seconds: float
    workers: int = 1
    noise: float = 0.1
    slowdowns: Sequence[Slowdown] = ()
    seed: int = 0
    reserve_s: float | None = None
    max_run_s: float | None = None
    max_unfinished: int = 1024
    delay_in_s: float = 0.0
    delay_out_s: float = 0.0
    pause_s: float = 0.0
    n_queries: int | None = None
    n_tokens: Sequence[int | None] = (None,)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf or not 0 <= self.noise <= 2:
            message = f"got {self.seconds} s with noise {self.noise}"
            raise QueryError(f"{message}; expected seconds above 0 and noise from 0 to 2")
        if self.n_queries is not None and self.n_queries < 1:
            raise QueryError(f"got {self.n_queries} queries; expected at least one")
        if not self.n_tokens or any(n is not None and n < 1 for n in self.n_tokens):
            raise QueryError(
                f"got queries of {self.n_tokens} tokens; expected one length or more, each None or at least 1"
            )

    def scheduler_settings(self) -> SchedulerSettings:
        """Return the settings of the scheduler."""
        return SchedulerSettings(
            slo_s=self.deadline_s,
            workers=self.workers,
            reserve_s=self.reserve_s,
            max_run_s=self.max_run_s,
            max_unfinished=self.max_unfinished,
        )
