"""Cost of the engine without other load: added to a direct call, and for a decision."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Request
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.loadtest.engine_process import open_index

_MAX_ADDED_S = 0.0002
"""At low load a query takes milliseconds, so this is a few percent."""
_MAX_DECISION_S = 50e-6
"""A batch at the fastest level takes about ten times as long."""


def rest_rows(index: Path, profile: Profile, queries: list[str], rounds: int = 400) -> list[dict[str, Any]]:
    """Time one query after the other, directly and through the engine in turns, at two levels."""
    retriever = open_index(index, device="cpu", download=False)
    rows = []
    for level_index, processes in product(sorted({profile.hull[0], profile.hull[-1]}), (False, True)):
        level = profile.levels[level_index]
        options: dict[str, Any] = {"policy": f"static:{level.name}", "slo_s": 1.0, "workers": 2, "processes": processes}
        with RetrievalEngine(retriever, profile, **options) as engine:
            engine.warm_up()
            times: dict[str, list[float]] = {"direct": [], "engine": []}
            for number in range(rounds):
                text = queries[number % len(queries)]
                for name in ("direct", "engine") if number % 2 else ("engine", "direct"):
                    started_s = perf_counter()
                    if name == "direct":
                        list(retriever.search(text, 10, subnet=level.name, recall=level.recall))
                    else:
                        engine.ask(text, 10)
                    times[name].append(perf_counter() - started_s)
        pairs = zip(times["engine"], times["direct"], strict=True)
        added_s = median(engine_s - direct_s for engine_s, direct_s in pairs)
        rows.append(
            {
                "level": level.name,
                "workers": "processes" if processes else "threads",
                **{f"{name} ms": 1000 * median(seconds) for name, seconds in times.items()},
                "added ms": 1000 * added_s,
                "verdict": "kept" if added_s <= _MAX_ADDED_S else "MISSED",
            }
        )
    return rows


def scheduling_rows(profile: Profile, rounds: int = 300) -> list[dict[str, Any]]:
    """Time decisions of the elastic policy while 1,000 requests wait; all, some or none of them can be in time."""
    rows = []
    profiles = {"profile": profile, "16 levels": _concave_profile(16), "3 levels": _concave_profile(3)}
    for name, levels in profiles.items():
        fastest_s = 1 / levels.levels[levels.hull[-1]].capacity_per_s()
        for slack, factor in {"plenty of time": 50.0, "between levels": 3.0, "hardly enough": 0.65}.items():
            seconds = _decision_times_s(levels, slack_s=1000 * fastest_s * factor, rounds=rounds)
            rows.append(
                {
                    "ladder": name,
                    "levels": len(levels.hull),
                    "queue": slack,
                    "us median": 1e6 * median(seconds),
                    "us p99": 1e6 * float(np.percentile(seconds, 99)),
                    "verdict": "kept" if median(seconds) <= _MAX_DECISION_S else "MISSED",
                }
            )
    return rows


def _decision_times_s(profile: Profile, *, slack_s: float, rounds: int) -> list[float]:
    """Return the time of each decision with 1,000 waiting requests; the queue is refilled after each."""
    settings = SchedulerSettings(slo_s=slack_s, workers=2, max_unfinished=4096)
    scheduler = Scheduler(profile, make_policy("elastic", profile, settings), settings)
    seconds, number = [], 0
    for _ in range(rounds):
        while scheduler.n_waiting < 1000:
            # All arrived at one moment, so long ago that the arrival rate alone does not decide: the queue is checked.
            due_s = slack_s * (0.6 + 0.4 * (number % 1000) / 1000)
            scheduler.add(Request(id=number, query=number, arrival_s=-1.0, deadline_s=max(due_s, slack_s * 0.99)))
            number += 1
        started_s = perf_counter()
        batch = scheduler.schedule(0.0)
        seconds.append(perf_counter() - started_s)
        if batch is not None:
            scheduler.finish(batch, batch.expected_s)
    return seconds


def _concave_profile(n: int) -> Profile:
    """Return a profile of n levels on a concave curve of quality over time."""
    levels = []
    for number in range(n):
        share = (n - number) / n
        quality, alone_s = 0.8 + 0.2 * share**0.5, 0.0004 + 0.002 * share
        levels.append(Level(name=f"level{number}", quality=quality, measured_s={1: alone_s, 32: 24 * alone_s}))
    return Profile(levels=levels)
