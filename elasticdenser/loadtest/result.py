"""Result of a load test under one policy, next to its simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from elasticdenser.engine.policies import Policy, PolicyFactory, policy_name
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.engine.simulation.summary import Summary, summarise
from elasticdenser.loadtest.calibration import Calibration, agree, calibrate, simulate_calibrated
from elasticdenser.loadtest.generator import LoadRun
from elasticdenser.loadtest.memory import growth_per_hour

_MAX_LATENESS = 0.1
"""Share of the deadline; a later load generator would distort the latencies that it measures."""


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """Result of a run under one policy.

    Attributes:
        summary: Figures of the run.
        run: Record of the run.
        deadline_s: Deadline of each request, after its scheduled time.
        calibration: Calibration of the simulator by the run; None if too few batches ran, or nothing was simulated.
        simulated: Figures of the calibrated simulation of the run; None without a calibration.
    """

    summary: Summary
    run: LoadRun
    deadline_s: float
    calibration: Calibration | None = None
    simulated: Summary | None = None

    @classmethod
    def from_run(
        cls,
        policy: str | Policy | PolicyFactory,
        run: LoadRun,
        profile: Profile,
        arrivals: Times | ClosedLoop,
        simulation: SimulationSettings | None,
    ) -> Self:
        """Summarise a run, and simulate it if possible.

        Args:
            policy: The policy, as for `make_policy`; any name if nothing is simulated.
            run: Record of the run; not empty.
            profile: The levels.
            arrivals: The arrivals that were planned.
            simulation: Settings of the simulation; None does not simulate.
        """
        deadline_s = run.outcomes[0].request.deadline_s - run.outcomes[0].request.arrival_s
        name = policy_name(policy, profile, SchedulerSettings(slo_s=deadline_s))
        summary = summarise(name, run.outcomes, profile)
        calibration = None if simulation is None else calibrate(run, profile, workers=simulation.workers)
        if calibration is None or simulation is None:
            return cls(summary=summary, run=run, deadline_s=deadline_s)
        sent = arrivals if isinstance(arrivals, ClosedLoop) else arrivals[: len(run.outcomes)]
        outcomes = simulate_calibrated(policy, sent, profile, calibration, simulation)
        simulated = summarise(name, outcomes, profile)
        return cls(summary=summary, run=run, deadline_s=deadline_s, calibration=calibration, simulated=simulated)

    @property
    def is_on_time(self) -> bool:
        """Whether the load generator sent 99 of 100 requests at most a tenth of the deadline late."""
        return self.run.lateness_p99_s <= _MAX_LATENESS * self.deadline_s

    @property
    def agrees(self) -> bool | None:
        """Whether the run and its calibrated simulation agree; None without one. See `calibration` for its worth."""
        return None if self.simulated is None else agree(self.summary, self.simulated)

    def figures(self) -> dict[str, Any]:
        """Return all figures, without the single requests, as JSON values. The keys are those of results on disk."""
        figures: dict[str, Any] = asdict(self.summary)
        run, calibration = self.run, self.calibration
        figures |= {
            "n_lost": run.n_lost,
            "client_lag_p99_s": run.lateness_p99_s,
            "client_kept_up": self.is_on_time,
            "memory": {
                "first_bytes": run.memory[0][1] if run.memory else None,
                "last_bytes": run.memory[-1][1] if run.memory else None,
                "growth_per_hour_bytes": growth_per_hour(run.memory),
            },
        }
        if calibration is not None and self.simulated is not None:
            figures["machine_as_found"] = {
                "ratio": calibration.ratio,
                "noise": calibration.noise,
                "way_in_s": calibration.delay_in_s,
                "way_out_s": calibration.delay_out_s,
                "pause_s": calibration.pause_s,
            }
            figures["simulated"] = asdict(self.simulated)
            figures["agrees"] = self.agrees
        return figures

    def conditions(self) -> str:
        """Return one line on the conditions of the run: lateness, memory, and calibration."""
        run, calibration = self.run, self.calibration
        parts = [f"{self.summary.policy}: load generator late by {1000 * run.lateness_p99_s:.1f} ms (p99)"]
        if run.memory:
            first, last = run.memory[0][1] / 2**20, run.memory[-1][1] / 2**20
            parts.append(f"memory from {first:,.0f} to {last:,.0f} MiB")
        if calibration is not None:
            parts.append(f"run times {calibration.ratio:.2f} of the profile's (scatter {calibration.noise:.2f})")
            delay_in_ms, delay_out_ms = 1000 * calibration.delay_in_s, 1000 * calibration.delay_out_s
            parts.append(f"delay {delay_in_ms:.2f} ms to the engine, {delay_out_ms:.2f} ms back")
            parts.append(f"the calibrated simulation {'agrees' if self.agrees else 'DIFFERS'}")
        return "; ".join(parts)


def client_warning(results: Sequence[LoadResult]) -> str | None:
    """Return a warning that figures describe the load generator rather than the target; None if it kept up."""
    slow = [result for result in results if not result.is_on_time]
    if not slow:
        return None
    lateness = ", ".join(f"{1000 * result.run.lateness_p99_s:.1f} ms with {result.summary.policy}" for result in slow)
    return (
        "the client could not keep up: it sent one request in a hundred too late, by at least "
        f"{lateness}, so the figures say little about the target"
    )
