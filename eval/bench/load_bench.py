"""Runs of policies under load, and their comparison."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import mean
from typing import Any

from report import print_table

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.loadtest.engine_target import EngineTarget
from elasticdenser.loadtest.generator import LoadSettings, run_load
from elasticdenser.loadtest.result import LoadResult

Row = dict[str, Any]

_MIN_IN_TIME = 0.999
_MIN_IN_TIME_TO_COMPARE = 0.99
_MAX_SIMULATION_ERROR = 0.02


@dataclass(frozen=True, kw_only=True)
class Bench:
    """State that every part needs.

    Attributes:
        target: The engine.
        profile: Its levels.
        queries: The queries to submit.
        options: Options of the command line.
        best_per_s: Capacity of the engine at the best level.
        fastest_per_s: Capacity of the engine at the fastest level that is used.
    """

    target: EngineTarget
    profile: Profile
    queries: list[str]
    options: argparse.Namespace
    best_per_s: float = 0.0
    fastest_per_s: float = 0.0

    @property
    def fastest(self) -> str:
        """Name of the fastest level that is used."""
        return self.profile.levels[self.profile.hull[-1]].name

    def run(self, policy: str, times: Times | ClosedLoop, deadline_s: float, seconds: float) -> LoadResult:
        """Run a policy under a load."""
        self.target.start(policy, deadline_s)
        run = run_load(self.target, times, self.queries, LoadSettings(deadline_s=deadline_s, seconds=seconds))
        self.target.finish()
        simulation = SimulationSettings(
            deadline_s=deadline_s, seconds=seconds, workers=self.options.workers, n_queries=len(set(self.queries))
        )
        return LoadResult.from_run(policy, run, self.profile, times, simulation)


def shown(title: str, rows: list[Row]) -> list[Row]:
    """Print rows and return them."""
    print_table(title, rows)
    return rows


def capacity(bench: Bench, level: str) -> Row:
    """Return the most answers a second at a level, over several numbers of clients."""
    rows = []
    for clients in (64, 128):
        result = bench.run(f"static:{level}", ClosedLoop(clients=clients), 1.0, 4.0)
        sizes = [response.batch_size for response in result.run.responses]
        rows.append({"a second": result.summary.in_time_per_s, "clients": clients, "in a batch": mean(sizes or [0])})
    return max(rows, key=lambda row: float(row["a second"]))


def compared(bench: Bench, title: str, times: Times, deadline_s: float) -> list[Row]:
    """Return a row for each policy, over all rounds, and print them with a verdict."""
    results: dict[str, list[LoadResult]] = {policy: [] for policy in _policies(bench)}
    for _ in range(bench.options.rounds):
        for policy, rounds in results.items():
            rounds.append(bench.run(policy, times, deadline_s, bench.options.seconds))
    rows = [{"load": title, **_row(policy, rounds)} for policy, rounds in results.items()]
    _add_verdicts(rows, f"static:{bench.fastest}")
    return shown(f"{title}; {len(times):,} requests, {bench.options.rounds} rounds", rows)


def _policies(bench: Bench) -> list[str]:
    """Return the policies to compare, among them elastic and the fastest level; AIMD at three levels."""
    if bench.options.policies:
        return list(dict.fromkeys(["elastic", f"static:{bench.fastest}", *bench.options.policies.split(",")]))
    names = [bench.profile.levels[level_index].name for level_index in bench.profile.hull]
    aimd_positions = sorted({0, len(names) // 2, len(names) - 1})
    return [
        *("elastic", "thresholds", "slackfit"),
        *(f"static:{name}" for name in names),
        *(f"aimd:{names[position]}" for position in aimd_positions),
    ]


def _row(policy: str, results: list[LoadResult]) -> Row:
    summaries = [result.summary for result in results]
    p99s_s = [summary.p99_s for summary in summaries if summary.p99_s is not None]
    simulated = [result.simulated for result in results if result.simulated]
    return {
        "policy": policy,
        "in time": mean(summary.in_time for summary in summaries),
        "worst": min(summary.in_time for summary in summaries),
        "retention": mean(summary.retention for summary in summaries),
        "simulated in time": mean(summary.in_time for summary in simulated) if simulated else None,
        "simulated retention": mean(summary.retention for summary in simulated) if simulated else None,
        "refused": mean(summary.refused for summary in summaries),
        "late": mean(summary.late for summary in summaries),
        "p99 ms": 1000 * mean(p99s_s) if p99s_s else None,
        "client lag p99 ms": 1000 * max(result.run.lateness_p99_s for result in results),
        "lost": sum(result.run.n_lost for result in results),
        "ratio": mean(result.calibration.ratio for result in results if result.calibration),
    }


def _add_verdicts(rows: list[Row], fastest: str) -> None:
    """Add whether elastic keeps its guarantees.

    It must answer in time if the fastest level alone can hold the load, and have a higher retention than each policy
    that is in time as often.
    """
    elastic, alone = (next(row for row in rows if row["policy"] == policy) for policy in ("elastic", fastest))
    is_holdable = alone["in time"] >= _MIN_IN_TIME
    for row in rows:
        agrees = row["simulated in time"] is not None and all(
            abs(row[figure] - row[f"simulated {figure}"]) <= _MAX_SIMULATION_ERROR
            for figure in ("in time", "retention")
        )
        row["simulation"] = "agrees" if agrees else "differs"
        if row is elastic:
            row["verdict"] = ("kept" if row["in time"] >= _MIN_IN_TIME else "MISSED") if is_holdable else "-"
        elif row["in time"] < min(_MIN_IN_TIME_TO_COMPARE, elastic["in time"]):
            row["verdict"] = "late"
        else:
            row["verdict"] = "below" if row["retention"] < elastic["retention"] else "ABOVE ELASTIC"
