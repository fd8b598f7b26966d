"""What a run comes to, beside what the simulator says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from elasticdenser.engine.policies import Policy, PolicyFactory, policy_name
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.engine.simulation.summary import Summary, summarise
from elasticdenser.loadtest.calibration import Calibration, agree, calibrate, simulated_alike
from elasticdenser.loadtest.client import Run
from elasticdenser.loadtest.memory import growth_per_hour

_MOST_LAG = 0.1


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run under one policy.

    Attributes:
        summary: Its figures.
        run: Everything.
        deadline_s: Each request's.
        calibration: What it told of the machine, if it told enough.
        simulated: The same, simulated on a machine such as it found.
    """

    summary: Summary
    run: Run
    deadline_s: float
    calibration: Calibration | None = None
    simulated: Summary | None = None

    @classmethod
    def of(
        cls,
        policy: str | Policy | PolicyFactory,
        run: Run,
        profile: Profile,
        arrivals: Times | ClosedLoop,
        simulation: SimulationSettings | None,
    ) -> Self:
        """Sum up a run, and simulate it, where there is something to simulate it with.

        Args:
            policy: As for `make_policy`, or any other name without a simulation.
            run: What came of it.
            profile: The levels.
            arrivals: What was to be sent.
            simulation: How to simulate it; None is not at all.
        """
        deadline_s = run.outcomes[0].request.deadline_s - run.outcomes[0].request.arrival_s
        name = policy_name(policy, profile, SchedulerSettings(slo_s=deadline_s))
        summary = summarise(name, run.outcomes, profile)
        found = None if simulation is None else calibrate(run, profile, workers=simulation.workers)
        if found is None or simulation is None:
            return cls(summary=summary, run=run, deadline_s=deadline_s)
        sent = arrivals if isinstance(arrivals, ClosedLoop) else arrivals[: len(run.outcomes)]
        outcomes = simulated_alike(policy, sent, profile, found, simulation)
        simulated = summarise(name, outcomes, profile)
        return cls(summary=summary, run=run, deadline_s=deadline_s, calibration=found, simulated=simulated)

    @property
    def kept_up(self) -> bool:
        """Whether the client was hardly ever later than a tenth of the deadline."""
        return self.run.lag_p99_s <= _MOST_LAG * self.deadline_s

    @property
    def agrees(self) -> bool | None:
        """Whether it and the simulation agree; None without one.

        The simulation stands on run times, slowdowns and ways found in this same run: it shows that the scheduler is
        modelled rightly, not that a run can be foreseen from the profile alone.
        """
        return None if self.simulated is None else agree(self.summary, self.simulated)

    def figures(self) -> dict[str, Any]:
        """Return everything but the single requests, as JSON takes it."""
        made: dict[str, Any] = asdict(self.summary)
        run, found = self.run, self.calibration
        made |= {"n_lost": run.n_lost, "client_lag_p99_s": run.lag_p99_s, "client_kept_up": self.kept_up}
        made["memory"] = {
            "first_bytes": run.memory[0][1] if run.memory else None,
            "last_bytes": run.memory[-1][1] if run.memory else None,
            "growth_per_hour_bytes": growth_per_hour(run.memory),
        }
        if found is not None and self.simulated is not None:
            parts = ("ratio", "noise", "way_in_s", "way_out_s", "pause_s")
            made["machine_as_found"] = {part: getattr(found, part) for part in parts}
            made["simulated"] = asdict(self.simulated)
            made["agrees"] = self.agrees
        return made

    def remark(self) -> str:
        """Return in a line what the figures stand on."""
        run, found = self.run, self.calibration
        parts = [f"{self.summary.policy}: client late by {1000 * run.lag_p99_s:.1f} ms (p99)"]
        if run.memory:
            parts.append(f"memory {run.memory[0][1] / 2**20:,.0f} to {run.memory[-1][1] / 2**20:,.0f} MiB")
        if found is not None:
            ways = f"{1000 * found.way_in_s:.2f} ms in, {1000 * found.way_out_s:.2f} ms out"
            parts.append(f"run times {found.ratio:.2f} of the profile's (scatter {found.noise:.2f}), {ways}")
            parts.append(f"the simulation on the machine as found {'agrees' if self.agrees else 'DIFFERS'}")
        return "; ".join(parts)
