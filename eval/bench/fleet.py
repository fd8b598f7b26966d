"""Machines that a simulated fleet needs for a day with bursts: elastic routers against static ones.

    OMP_NUM_THREADS=1 python eval/bench/fleet.py [--scale 1] [--figure eval/figures/fleet.png]

A day's curve is compressed to seconds, with four bursts. For each policy the fewest machines are sought with which
99.9 % of the requests are answered in time by all shards; then each policy serves the same day with the machines that
the elastic one needs. Nothing here is measured: the time of a level comes from the shipped profile, of one machine and
191,490 passages, and its part in the search from `eval/results/structures.jsonl`, of the same machine and index.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from report import RESULTS, append_result, print_table

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.arrivals import Times, day, poisson
from elasticdenser.engine.simulation.fleet.settings import FleetSettings
from elasticdenser.engine.simulation.fleet.simulator import FleetRun, simulate_fleet
from elasticdenser.engine.simulation.fleet.times import FleetTimes
from elasticdenser.engine.simulation.summary import summarise, timeline_of

_PROFILE = Path(__file__).parents[2] / "elasticdenser/pretrained/all-MiniLM-L6-v2/profile.json"
_POLICIES = ("elastic", "static:w1-d6", "static:w0.5-d4", "static:level0")
_GOAL = 0.999
_EFFORTS = {
    None: ("PQ96x4fs", "rescored 512"),
    0.9902: ("IVF512,PQ96x4fs", "nprobe 128, rescored 256"),
    0.9672: ("IVF512,PQ96x4fs", "nprobe 64, rescored 256"),
    0.9238: ("IVF512,PQ96x4fs", "nprobe 32, rescored 128"),
}
"""Structure and effort of a search, by the recall of the shipped profile's levels; `effort.jsonl` lists the same."""
_BURSTS = ((0.30, 1.0), (0.52, 1.5), (0.60, 1.0), (0.80, 1.5))
"""Start of each burst as a share of the day, and its further requests as a multiple of the mean rate."""
_BURST_SHARE = 0.04
_ROUTERS_A_REPLICA = (1, 1.5, 2, 2.5, 3, 4)
"""Numbers of routers that are tried, as multiples of the replicas of a shard."""
_MIN_REPLICAS = 2
"""A single replica would leave a shard without any while it is replaced, and nothing to hedge with."""


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=4000.0, help="mean requests a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the compressed day")
    parser.add_argument("--deadline-ms", type=float, default=50.0)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--scale", type=float, default=1.0, help="passages of a shard, in multiples of 191,490")
    parser.add_argument("--figure", type=Path, help="picture of the day with equal machines (.png)")
    parser.add_argument("--policies", default=",".join(_POLICIES), help="the first one's fleet is that of all")
    options = parser.parse_args()
    policies = options.policies.split(",")
    profile = Profile.load(_PROFILE)
    times = FleetTimes.split(profile, _search_s(), scale=options.scale)
    arrivals = day_with_bursts(options.rate, options.seconds, np.random.default_rng(7))
    base = FleetSettings(
        deadline_s=options.deadline_ms / 1000,
        in_flight=3,
        shards=options.shards,
        stall_every_s=1.0,
        hedge_percentile=95.0,
    )
    sizes: dict[str, FleetSettings] = {}
    rows: list[dict[str, Any]] = []
    started_s = process_time()
    for policy in policies:
        sizes[policy] = smallest_fleet(times, policy, arrivals, base)
    runs = {policy: simulate_fleet(times, policy, arrivals, sizes[policies[0]]) for policy in policies}
    for policy, settings in sizes.items():
        rows.append(_row(policy, settings, simulate_fleet(times, policy, arrivals, settings), runs[policy], profile))
    if "elastic" in sizes:
        rows += hedging_rows(times, arrivals, sizes["elastic"])
    title = f"{len(arrivals):,} requests, {options.shards} shards of {options.scale * 191_490:,.0f} passages"
    print_table(f"{title}, deadline {options.deadline_ms:g} ms", rows)
    print(f"{process_time() - started_s:.0f} s of CPU time")
    load = {name: getattr(options, name) for name in ("rate", "seconds", "deadline_ms", "shards", "scale")}
    append_result("fleet", {**load, "requests": len(arrivals), "rows": rows})
    if options.figure is not None:
        _draw(options.figure, profile, runs, options.seconds, base.deadline_s, sizes[policies[0]])


def day_with_bursts(mean_per_s: float, seconds: float, rng: np.random.Generator) -> Times:
    """Return arrival times over a compressed day with four bursts; the mean rate is that between bursts."""
    parts = [day(mean_per_s, seconds, rng)]
    for start, extra in _BURSTS:
        parts.append(start * seconds + poisson(extra * mean_per_s, _BURST_SHARE * seconds, rng))
    return np.sort(np.concatenate(parts))


def smallest_fleet(times: FleetTimes, policy: str, arrivals: Times, base: FleetSettings) -> FleetSettings:
    """Return the smallest fleet found that reaches the goal: of the fewest replicas that can, and of one more.

    More routers are not always better: they may send more to the replicas than these can do, since none sees the queue
    of the others. So several numbers of them are tried with each number of replicas, and below the first that is
    enough, the least is sought by bisection.
    """

    def reaches(replicas: int, routers: int) -> bool:
        settings = replace(base, replicas=replicas, routers=routers)
        return simulate_fleet(times, policy, arrivals, settings).whole_in_time >= _GOAL

    @cache
    def enough_routers(replicas: int) -> int | None:
        tried = dict.fromkeys(math.ceil(share * replicas) for share in _ROUTERS_A_REPLICA)
        return next((routers for routers in tried if reaches(replicas, routers)), None)

    fewest = _least(lambda replicas: enough_routers(replicas) is not None, _MIN_REPLICAS)
    fleets = [
        replace(base, replicas=replicas, routers=_least(partial(reaches, replicas), 1, most=most))
        for replicas in (fewest, fewest + 1)
        if (most := enough_routers(replicas)) is not None
    ]
    return min(fleets, key=lambda fleet: fleet.n_machines)


def hedging_rows(times: FleetTimes, arrivals: Times, settings: FleetSettings) -> list[dict[str, Any]]:
    """Return what hedging and partial answers do in the elastic fleet."""
    rows = []
    for name, changes in (
        ("elastic, no hedging", {"hedge_percentile": None}),
        ("elastic, partial answers", {"partial": True}),
        ("elastic, no hedging, partial answers", {"hedge_percentile": None, "partial": True}),
    ):
        run = simulate_fleet(times, "elastic", arrivals, replace(settings, **changes))  # type: ignore[arg-type]
        rows.append({"policy": name, "machines": settings.n_machines, **_shares(run, "")})
    return rows


def _row(policy: str, settings: FleetSettings, own: FleetRun, equal: FleetRun, profile: Profile) -> dict[str, Any]:
    return {
        "policy": policy,
        "machines": settings.n_machines,
        "routers": settings.routers,
        "replicas": settings.replicas,
        "quality": summarise(policy, own.outcomes, profile).retention,
        **_shares(own, ""),
        **_shares(equal, " with the first fleet"),
        "quality with the first fleet": summarise(policy, equal.outcomes, profile).retention,
    }


def _shares(run: FleetRun, suffix: str) -> dict[str, Any]:
    """Return the share of whole answers in time, of any answers in time, and of second requests."""
    in_time = sum(outcome.status.value == "in time" for outcome in run.outcomes) / len(run.outcomes)
    shares = {"whole in time": run.whole_in_time, "in time": in_time, "hedged": run.n_hedged / max(1, run.n_searches)}
    return {name + suffix: share for name, share in shares.items()}


def _least(reaches: Callable[[int], bool], least: int, most: int | None = None) -> int:
    """Return the least number that reaches a goal, by doubling and bisection."""
    low, high = least - 1, least if most is None else most
    while most is None and not reaches(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _search_s() -> dict[float | None, dict[int, float]]:
    """Return the measured time of a search by effort and batch size."""
    lines = (RESULTS / "structures.jsonl").read_text(encoding="utf-8").splitlines()
    found = {(row["structure"], row["effort"]): row for line in lines for row in json.loads(line)["rows"]}
    rows = {recall: found[key] for recall, key in _EFFORTS.items()}
    return {
        recall: {1: 1e-6 * row["us alone"], 16: 16e-6 * row["us in 16s"], 32: 32e-6 * row["us in 16s"]}
        for recall, row in rows.items()
    }


def _draw(
    path: Path,
    profile: Profile,
    runs: dict[str, FleetRun],
    seconds: float,
    deadline_s: float,
    settings: FleetSettings,
) -> None:
    from elasticdenser.reports.charts.load import draw_load

    summaries = [summarise(policy, run.outcomes, profile) for policy, run in runs.items()]
    timelines = {policy: timeline_of(run.outcomes, profile, seconds, 96) for policy, run in runs.items()}
    shape = f"{settings.routers} routers and {settings.shards} shards of {settings.replicas} replicas"
    draw_load(
        path.parent,
        summaries,
        timelines,
        profile,
        workers=0,
        deadline_s=deadline_s,
        title=f"Simulated: a day with bursts on {settings.n_machines} machines ({shape})",
        name=path.stem,
    )


if __name__ == "__main__":
    main()
