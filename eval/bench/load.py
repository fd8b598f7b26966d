"""The engine under real load, against what is promised of it.

    OMP_NUM_THREADS=1 python eval/bench/load.py --index indexes/wiki --data DATA --profile profile.json

The engine runs in a process of its own, its clients in this one, on the same machine: on two cores they share them.
Rates are set by the capacities that are measured first, with clients that wait. Parts, for `--only`: `rest` (what the
engine adds to a direct call), `scheduling` (what a decision costs), `workers` (threads against processes), `bursts`,
`trace`, `overload` (ten times what the smallest level can do) and `soak`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np
from load_alone import rest_rows, scheduling_rows
from report import keep, print_table

from elasticdenser.cpus import cpu_count
from elasticdenser.datasets import load_queries
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times, bursts, poisson, replayed
from elasticdenser.engine.simulation.simulator import SimulationSettings
from elasticdenser.loadtest.client import ClientSettings, Run, run_load
from elasticdenser.loadtest.engine_process import Opener, open_index
from elasticdenser.loadtest.engine_target import EngineTarget
from elasticdenser.loadtest.memory import growth_per_hour
from elasticdenser.loadtest.result import Result

PARTS = ("rest", "scheduling", "workers", "bursts", "trace", "overload", "soak")
TRACE = "traces/azure-llm-conv-2023.txt.gz"
Row = dict[str, Any]

_IN_TIME = 0.999
_MOST_GROWTH = 16 * 2**20
"""Bytes an hour; over less than ten minutes the slope says nothing."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every part needs.

    Attributes:
        target: The engine.
        profile: Its levels.
        queries: What is asked.
        options: Of the command line.
        full_per_s: What the engine can do with the best level only.
        small_per_s: With the smallest one that is used.
    """

    target: EngineTarget
    profile: Profile
    queries: list[str]
    options: argparse.Namespace
    full_per_s: float = 0.0
    small_per_s: float = 0.0

    @property
    def smallest(self) -> str:
        """Name of the smallest level that is used."""
        return self.profile.levels[self.profile.hull[-1]].name

    def run(self, policy: str, times: Times | ClosedLoop, deadline_s: float, seconds: float) -> Result:
        """Run a policy under a load."""
        self.target.start(policy, deadline_s)
        run = run_load(self.target, times, self.queries, ClientSettings(deadline_s=deadline_s, seconds=seconds))
        self.target.finish()
        simulation = SimulationSettings(
            deadline_s=deadline_s, seconds=seconds, workers=self.options.workers, n_queries=len(set(self.queries))
        )
        return Result.of(policy, run, self.profile, times, simulation)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--profile", type=Path, required=True, help="of this index, measured on this machine")
    parser.add_argument("--only", default=",".join(PARTS[:-1]), help=f"some of {', '.join(PARTS)}")
    parser.add_argument(
        "--workers", type=int, default=max(1, cpu_count() - 1), help="by default one CPU is left to the client"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each policy, in turns")
    parser.add_argument("--policies", help="to compare, such as elastic,slackfit,static:level0; all by default")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    parser.add_argument("--deadlines-ms", default="25,50")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"got {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    queries = [query.text for query in load_queries(options.data / "nq", split="dev")]
    profile = Profile.load(options.profile)
    kept: dict[str, Any] = {
        "options": {name: value.name if isinstance(value, Path) else value for name, value in vars(options).items()}
    }
    if "rest" in parts:
        kept["rest"] = shown("At rest: the engine against a direct call", rest_rows(options.index, profile, queries))
    if "scheduling" in parts:
        kept["scheduling"] = shown("A decision with 1,000 requests queued", scheduling_rows(profile))
    opener = partial(open_index, options.index, device="cpu", download=False)
    bench = partial(Bench, profile=profile, queries=queries, options=options)
    if "workers" in parts:
        kept["workers"] = shown(
            "Threads and processes: capacity, clients that wait", worker_rows(opener, profile, bench)
        )
    if set(parts) & set(PARTS[3:]):
        with EngineTarget(opener, profile, workers=options.workers) as target:
            kept |= under_load(bench(target=target), parts)
    keep("load", kept)


def under_load(bench: Bench, parts: list[str]) -> dict[str, Any]:
    """Return the rows of every part that needs the engine's process."""
    full = capacity(bench, bench.profile.levels[0].name)
    small = capacity(bench, bench.smallest)
    rows = [{"level": bench.profile.levels[0].name, **full}, {"level": bench.smallest, **small}]
    made: dict[str, Any] = {"capacity": shown(f"Capacity, {bench.options.workers} workers, clients that wait", rows)}
    bench = Bench(**{**vars(bench), "full_per_s": full["a second"], "small_per_s": small["a second"]})
    deadlines_s = [float(value) / 1000 for value in bench.options.deadlines_ms.split(",")]
    for part, rows_of in (("bursts", burst_rows), ("trace", trace_rows), ("overload", overload_rows)):
        if part in parts:
            made[part] = [row for deadline_s in deadlines_s for row in rows_of(bench, deadline_s)]
    if "soak" in parts:
        made["soak"] = shown("Soak", soak_rows(bench, deadlines_s[0]))
    return made


def worker_rows(opener: Opener, profile: Profile, bench: Callable[..., Bench]) -> list[Row]:
    """Compare what threads and processes can do at capacity and at ten times it, one worker and two, in turns."""
    found: dict[tuple[int, bool], list[Row]] = {}
    for number in range(bench(target=None).options.rounds):
        for key in ((1, False), (1, True), (2, False), (2, True)):
            with EngineTarget(opener, profile, workers=key[0], in_processes=key[1]) as target:
                made = bench(target=target)
                full, small = (capacity(made, name)["a second"] for name in (profile.levels[0].name, made.smallest))
                times = poisson(10 * small, 3.0, np.random.default_rng(number))
                run = made.run("elastic", times, 0.025, 3.0).run
                kept = sum(one.status is Status.IN_TIME and 0.5 <= one.at_s < 3.0 for one in run.outcomes) / 2.5
                found.setdefault(key, []).append({"full": full, "small": small, "kept": kept / small})
    return [
        {
            "workers": workers,
            "as": "processes" if in_processes else "threads",
            f"{profile.levels[0].name} a second": median(row["full"] for row in its),
            "smallest a second": median(row["small"] for row in its),
            "of it in time at ten times": median(row["kept"] for row in its),
            "runs": len(its),
        }
        for (workers, in_processes), its in sorted(found.items())
    ]


def shown(title: str, rows: list[Row]) -> list[Row]:
    """Print rows and return them."""
    print_table(title, rows)
    return rows


def capacity(bench: Bench, level: str) -> Row:
    """Return the most answers a second at a level, over several numbers of clients."""
    rows = []
    for clients in (64, 128):
        result = bench.run(f"static:{level}", ClosedLoop(clients=clients), 1.0, 4.0)
        sizes = [one.batch_size for one in result.run.replies]
        rows.append({"a second": result.summary.in_time_per_s, "clients": clients, "in a batch": mean(sizes or [0])})
    return max(rows, key=lambda row: float(row["a second"]))


def policies(bench: Bench) -> list[str]:
    """Return the policies to compare, among them elastic and the smallest level; AIMD at three levels."""
    if bench.options.policies:
        return list(dict.fromkeys(["elastic", f"static:{bench.smallest}", *bench.options.policies.split(",")]))
    names = [bench.profile.levels[place].name for place in bench.profile.hull]
    some = sorted({0, len(names) // 2, len(names) - 1})
    return [
        *("elastic", "thresholds", "slackfit"),
        *(f"static:{name}" for name in names),
        *(f"aimd:{names[at]}" for at in some),
    ]


def compared(bench: Bench, title: str, times: Times, deadline_s: float) -> list[Row]:
    """Return a row for each policy, over all rounds, and print them with a verdict."""
    results: dict[str, list[Result]] = {name: [] for name in policies(bench)}
    for _ in range(bench.options.rounds):
        for name, its in results.items():
            its.append(bench.run(name, times, deadline_s, bench.options.seconds))
    rows = [{"load": title, **_row(name, its)} for name, its in results.items()]
    _add_verdicts(rows, f"static:{bench.smallest}")
    return shown(f"{title}; {len(times):,} requests, {bench.options.rounds} rounds", rows)


def _row(policy: str, results: list[Result]) -> Row:
    summaries = [one.summary for one in results]
    p99s = [one.p99_s for one in summaries if one.p99_s is not None]
    simulated = [one.simulated for one in results if one.simulated]
    return {
        "policy": policy,
        "in time": mean(one.in_time for one in summaries),
        "worst": min(one.in_time for one in summaries),
        "retention": mean(one.retention for one in summaries),
        "simulated in time": mean(one.in_time for one in simulated) if simulated else None,
        "simulated retention": mean(one.retention for one in simulated) if simulated else None,
        "refused": mean(one.refused for one in summaries),
        "late": mean(one.late for one in summaries),
        "p99 ms": 1000 * mean(p99s) if p99s else None,
        "client lag p99 ms": 1000 * max(one.run.lag_p99_s for one in results),
        "lost": sum(one.run.n_lost for one in results),
        "ratio": mean(one.calibration.ratio for one in results if one.calibration),
    }


def _add_verdicts(rows: list[Row], smallest: str) -> None:
    """Say whether elastic keeps what is promised.

    That is in itself, where the smallest level alone can hold the load, and against each policy that is in time as
    often.
    """
    elastic, alone = (next(row for row in rows if row["policy"] == name) for name in ("elastic", smallest))
    holds = alone["in time"] >= _IN_TIME
    for row in rows:
        agrees = row["simulated in time"] is not None and all(
            abs(row[what] - row[f"simulated {what}"]) <= 0.02 for what in ("in time", "retention")
        )
        row["simulation"] = "agrees" if agrees else "differs"
        if row is elastic:
            row["verdict"] = ("kept" if row["in time"] >= _IN_TIME else "MISSED") if holds else "-"
        elif row["in time"] < min(0.99, elastic["in time"]):
            row["verdict"] = "late"
        else:
            row["verdict"] = "below" if row["retention"] < elastic["retention"] else "ABOVE ELASTIC"


def burst_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Compare under bursts, between half of what the best level can do and more than that."""
    rows = []
    calm = 0.5 * bench.full_per_s
    peaks = {"2x": 2 * bench.full_per_s, "5x": 5 * bench.full_per_s, "90 % of smallest": 0.9 * bench.small_per_s}
    for name, peak in peaks.items():
        rng = np.random.default_rng(0)
        times = bursts(calm, peak, bench.options.seconds, rng, mean_calm_s=2.0, mean_burst_s=1.0)
        title = f"bursts of {name} ({peak:,.0f} a second), {1000 * deadline_s:g} ms"
        rows += compared(bench, title, times, deadline_s)
    return rows


def trace_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Compare on a recorded trace, at 1.5 times what the best level can do."""
    rate = 1.5 * bench.full_per_s
    times = replayed(bench.options.data / TRACE, rate, bench.options.seconds)
    title = f"trace at {rate:,.0f} a second, {1000 * deadline_s:g} ms"
    return compared(bench, title, times, deadline_s)


def overload_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Ten times what the smallest level can do for two seconds, then calm."""
    calm_per_s, peak_per_s = 0.3 * bench.full_per_s, 10 * bench.small_per_s
    rows = []
    for number in range(bench.options.rounds):
        rng = np.random.default_rng(number)
        times = np.sort(np.concatenate([poisson(calm_per_s, 6.0, rng), 1.0 + poisson(peak_per_s, 2.0, rng)]))
        result = bench.run("elastic", times, deadline_s, 6.0)
        run = result.run
        rate = sum(one.status is Status.IN_TIME and 1.0 <= one.at_s < 3.0 for one in run.outcomes) / 2
        back_s = _back_s(run, bench.profile.levels[0].name, 3.0)
        is_kept = rate >= 0.95 * bench.small_per_s and back_s is not None and back_s <= 1.0 and not run.n_lost
        rows.append(
            {
                "deadline ms": 1000 * deadline_s,
                "asked a second": peak_per_s,
                "in time a second": rate,
                "of capacity": rate / bench.small_per_s,
                "late": result.summary.late,
                "best level back after s": back_s,
                "client lag p99 ms": 1000 * run.lag_p99_s,
                "client sent for s": run.seconds,
                "lost": run.n_lost,
                "verdict": "kept" if is_kept else "MISSED",
            }
        )
    return shown("Overload: ten times what the smallest level can do", rows)


def _back_s(run: Run, best: str, end_s: float) -> float | None:
    """Return how long after a burst's end the best level gives at least nine of ten answers, for 0.2 s."""
    answers = sorted((one.request.arrival_s, one.level == best) for one in run.outcomes if one.level)
    for start_s in np.arange(end_s, end_s + 2.5, 0.05).tolist():
        window = [is_best for at_s, is_best in answers if start_s <= at_s < start_s + 0.2]
        if window and mean(window) >= 0.9:
            return float(start_s - end_s)
    return None


def soak_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Run one engine for long, under a load that changes every half minute, and watch its memory."""
    bench.target.start("elastic", deadline_s)
    started, rows, held = perf_counter(), [], list[tuple[float, int]]()
    n, lost, in_time = 0, 0, list[float]()
    loads = (0.3 * bench.full_per_s, 2 * bench.full_per_s, 0.8 * bench.small_per_s, 1.5 * bench.small_per_s)
    number = 0
    while (now_s := perf_counter() - started) < 60 * bench.options.minutes:
        seconds = min(30.0, 60 * bench.options.minutes - now_s + 0.1)
        times = poisson(loads[number % len(loads)], seconds, np.random.default_rng(number))
        settings = ClientSettings(deadline_s=deadline_s, seconds=seconds, seed=number)
        run = run_load(bench.target, times, bench.queries, settings)
        result = Result.of("elastic", run, bench.profile, times, None)
        held += [(now_s + at_s, size) for at_s, size in run.memory]
        n, lost, number = n + len(run.outcomes), lost + run.n_lost, number + 1
        in_time.append(result.summary.in_time)
    bench.target.finish()
    settled = held[len(held) // 4 :]
    growth = growth_per_hour(settled) or 0.0
    rows.append(
        {
            "minutes": (perf_counter() - started) / 60,
            "requests": n,
            "lost": lost,
            "in time, median": median(in_time),
            "MiB at first": held[0][1] / 2**20,
            "MiB at a quarter": settled[0][1] / 2**20,
            "MiB at the end": held[-1][1] / 2**20,
            "MiB an hour, after the first quarter": growth / 2**20,
            "verdict": "kept" if not lost and (growth < _MOST_GROWTH or bench.options.minutes < 10) else "MISSED",
        }
    )
    return rows


if __name__ == "__main__":
    main()
