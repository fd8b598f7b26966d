"""Benchmark of the engine under real load, with a verdict on each guarantee.

    OMP_NUM_THREADS=1 python eval/bench/load.py --index indexes/wiki --data DATA --profile profile.json

The engine runs in a process of its own, and its clients in this one, on the same machine: on two cores they share them.
Rates are multiples of the capacities, which are measured first, with clients that wait. Parts, for `--only`: `rest`
(time that the engine adds to a direct call), `scheduling` (time of a decision), `workers` (threads against processes),
`bursts`, `trace`, `overload` (ten times the capacity of the fastest level) and `soak`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from load_alone import rest_rows, scheduling_rows
from load_bench import Bench, capacity, shown
from load_parts import burst_rows, overload_rows, soak_rows, trace_rows, worker_rows
from report import append_result

from elasticdenser.cpus import cpu_count
from elasticdenser.datasets import load_queries
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.loadtest.engine_process import open_index
from elasticdenser.loadtest.engine_target import EngineTarget

PARTS = ("rest", "scheduling", "workers", "bursts", "trace", "overload", "soak")
_UNDER_LOAD = PARTS[3:]


def main() -> None:
    """Run the benchmark."""
    options = parse_options()
    parts = options.only.split(",")
    queries = [query.text for query in load_queries(options.data / "nq", split="dev")]
    profile = Profile.load(options.profile)
    results: dict[str, Any] = {
        "options": {name: value.name if isinstance(value, Path) else value for name, value in vars(options).items()}
    }
    if "rest" in parts:
        rows = rest_rows(options.index, profile, queries)
        results["rest"] = shown("At rest: the engine against a direct call", rows)
    if "scheduling" in parts:
        results["scheduling"] = shown("A decision with 1,000 requests queued", scheduling_rows(profile))
    opener = partial(open_index, options.index, device="cpu", download=False)
    make_bench = partial(Bench, profile=profile, queries=queries, options=options)
    if "workers" in parts:
        rows = worker_rows(opener, profile, make_bench, options.rounds)
        results["workers"] = shown("Threads and processes: capacity, clients that wait", rows)
    if set(parts) & set(_UNDER_LOAD):
        with EngineTarget(opener, profile, workers=options.workers) as target:
            results |= under_load(make_bench(target=target), parts)
    append_result("load", results)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
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
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"got {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    return options


def under_load(bench: Bench, parts: list[str]) -> dict[str, Any]:
    """Return the rows of every part that needs the engine's process."""
    best = capacity(bench, bench.profile.levels[0].name)
    fastest = capacity(bench, bench.fastest)
    rows = [{"level": bench.profile.levels[0].name, **best}, {"level": bench.fastest, **fastest}]
    title = f"Capacity, {bench.options.workers} workers, clients that wait"
    results: dict[str, Any] = {"capacity": shown(title, rows)}
    bench = Bench(**{**vars(bench), "best_per_s": best["a second"], "fastest_per_s": fastest["a second"]})
    deadlines_s = [float(value) / 1000 for value in bench.options.deadlines_ms.split(",")]
    for part, rows_of in (("bursts", burst_rows), ("trace", trace_rows), ("overload", overload_rows)):
        if part in parts:
            results[part] = [row for deadline_s in deadlines_s for row in rows_of(bench, deadline_s)]
    if "soak" in parts:
        results["soak"] = shown("Soak", soak_rows(bench, deadlines_s[0]))
    return results


if __name__ == "__main__":
    main()
