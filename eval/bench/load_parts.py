"""Parts of the load benchmark that need the engine's process."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean, median
from time import perf_counter

import numpy as np
from load_bench import Bench, Row, capacity, compared, shown

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import bursts, poisson, replayed
from elasticdenser.loadtest.engine_process import Opener
from elasticdenser.loadtest.engine_target import EngineTarget
from elasticdenser.loadtest.generator import LoadRun, LoadSettings, run_load
from elasticdenser.loadtest.memory import growth_per_hour
from elasticdenser.loadtest.result import LoadResult

TRACE = "traces/azure-llm-conv-2023.txt.gz"
_MAX_GROWTH_BYTES = 16 * 2**20
"""Growth of memory in an hour."""
_MIN_GROWTH_MINUTES = 10
"""In a shorter run the slope of the memory says nothing."""


def worker_rows(opener: Opener, profile: Profile, make_bench: Callable[..., Bench], n_rounds: int) -> list[Row]:
    """Compare threads and processes at capacity and at ten times it, with one worker and two, in turns."""
    rounds: dict[tuple[int, bool], list[Row]] = {}
    for number in range(n_rounds):
        for n_workers, in_processes in ((1, False), (1, True), (2, False), (2, True)):
            with EngineTarget(opener, profile, workers=n_workers, in_processes=in_processes) as target:
                bench = make_bench(target=target)
                best, fastest = (capacity(bench, name)["a second"] for name in (profile.levels[0].name, bench.fastest))
                times = poisson(10 * fastest, 3.0, np.random.default_rng(number))
                run = bench.run("elastic", times, 0.025, 3.0).run
                in_time_per_s = _in_time_per_s(run, 0.5, 3.0)
                row = {"best": best, "fastest": fastest, "overload": in_time_per_s / fastest}
                rounds.setdefault((n_workers, in_processes), []).append(row)
    return [
        {
            "workers": n_workers,
            "as": "processes" if in_processes else "threads",
            f"{profile.levels[0].name} a second": median(row["best"] for row in rows),
            "smallest a second": median(row["fastest"] for row in rows),
            "of it in time at ten times": median(row["overload"] for row in rows),
            "runs": len(rows),
        }
        for (n_workers, in_processes), rows in sorted(rounds.items())
    ]


def burst_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Compare under bursts, from half the capacity of the best level to more than that capacity."""
    rows = []
    calm = 0.5 * bench.best_per_s
    peaks = {"2x": 2 * bench.best_per_s, "5x": 5 * bench.best_per_s, "90 % of smallest": 0.9 * bench.fastest_per_s}
    for name, peak in peaks.items():
        rng = np.random.default_rng(0)
        times = bursts(calm, peak, bench.options.seconds, rng, mean_calm_s=2.0, mean_burst_s=1.0)
        title = f"bursts of {name} ({peak:,.0f} a second), {1000 * deadline_s:g} ms"
        rows += compared(bench, title, times, deadline_s)
    return rows


def trace_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Compare on a recorded trace, at 1.5 times the capacity of the best level."""
    rate = 1.5 * bench.best_per_s
    times = replayed(bench.options.data / TRACE, rate, bench.options.seconds)
    title = f"trace at {rate:,.0f} a second, {1000 * deadline_s:g} ms"
    return compared(bench, title, times, deadline_s)


def overload_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Run at ten times the capacity of the fastest level for two seconds, then at low load."""
    calm_per_s, peak_per_s = 0.3 * bench.best_per_s, 10 * bench.fastest_per_s
    rows = []
    for number in range(bench.options.rounds):
        rng = np.random.default_rng(number)
        times = np.sort(np.concatenate([poisson(calm_per_s, 6.0, rng), 1.0 + poisson(peak_per_s, 2.0, rng)]))
        result = bench.run("elastic", times, deadline_s, 6.0)
        run = result.run
        rate = _in_time_per_s(run, 1.0, 3.0)
        back_s = _back_s(run, bench.profile.levels[0].name, 3.0)
        is_kept = rate >= 0.95 * bench.fastest_per_s and back_s is not None and back_s <= 1.0 and not run.n_lost
        rows.append(
            {
                "deadline ms": 1000 * deadline_s,
                "asked a second": peak_per_s,
                "in time a second": rate,
                "of capacity": rate / bench.fastest_per_s,
                "late": result.summary.late,
                "best level back after s": back_s,
                "client lag p99 ms": 1000 * run.lateness_p99_s,
                "client sent for s": run.seconds,
                "lost": run.n_lost,
                "verdict": "kept" if is_kept else "MISSED",
            }
        )
    return shown("Overload: ten times what the smallest level can do", rows)


def _in_time_per_s(run: LoadRun, start_s: float, end_s: float) -> float:
    """Return the answers in time a second in a period."""
    n = sum(outcome.status is Status.IN_TIME and start_s <= outcome.at_s < end_s for outcome in run.outcomes)
    return n / (end_s - start_s)


def _back_s(run: LoadRun, best: str, end_s: float) -> float | None:
    """Return how long after a burst's end the best level gives at least nine of ten answers, for 0.2 s."""
    answers = [(outcome.request.arrival_s, outcome.level == best) for outcome in run.outcomes if outcome.level]
    for start_s in np.arange(end_s, end_s + 2.5, 0.05).tolist():
        window = [is_best for arrival_s, is_best in answers if start_s <= arrival_s < start_s + 0.2]
        if window and mean(window) >= 0.9:
            return float(start_s - end_s)
    return None


def soak_rows(bench: Bench, deadline_s: float) -> list[Row]:
    """Run the engine for long, under a load that changes every half minute, and measure its memory."""
    bench.target.start("elastic", deadline_s)
    started_s, memory, in_time = perf_counter(), list[tuple[float, int]](), list[float]()
    n_requests, n_lost, number = 0, 0, 0
    best_per_s, fastest_per_s = bench.best_per_s, bench.fastest_per_s
    loads = (0.3 * best_per_s, 2 * best_per_s, 0.8 * fastest_per_s, 1.5 * fastest_per_s)
    while (now_s := perf_counter() - started_s) < 60 * bench.options.minutes:
        seconds = min(30.0, 60 * bench.options.minutes - now_s + 0.1)
        times = poisson(loads[number % len(loads)], seconds, np.random.default_rng(number))
        settings = LoadSettings(deadline_s=deadline_s, seconds=seconds, seed=number)
        run = run_load(bench.target, times, bench.queries, settings)
        result = LoadResult.from_run("elastic", run, bench.profile, times, None)
        memory += [(now_s + at_s, n_bytes) for at_s, n_bytes in run.memory]
        n_requests, n_lost, number = n_requests + len(run.outcomes), n_lost + run.n_lost, number + 1
        in_time.append(result.summary.in_time)
    bench.target.finish()
    settled = memory[len(memory) // 4 :]
    growth = growth_per_hour(settled) or 0.0
    is_kept = not n_lost and (growth < _MAX_GROWTH_BYTES or bench.options.minutes < _MIN_GROWTH_MINUTES)
    return [
        {
            "minutes": (perf_counter() - started_s) / 60,
            "requests": n_requests,
            "lost": n_lost,
            "in time, median": median(in_time),
            "MiB at first": memory[0][1] / 2**20,
            "MiB at a quarter": settled[0][1] / 2**20,
            "MiB at the end": memory[-1][1] / 2**20,
            "MiB an hour, after the first quarter": growth / 2**20,
            "verdict": "kept" if is_kept else "MISSED",
        }
    ]
