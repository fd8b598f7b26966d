"""What the engine costs when nothing competes with it: beside a direct call, and for a decision."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profiling.profile import Level, Profile
from elasticdenser.engine.request import Request
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.loadtest.engine_process import open_index

_MOST_ADDED_S = 0.0002
_MOST_A_DECISION_S = 50e-6


def rest_rows(index: Path, profile: Profile, queries: list[str], rounds: int = 400) -> list[dict[str, Any]]:
    """Ask one query after the other, directly and through the engine in turns, at several levels."""
    retriever = open_index(index, device="cpu", download=False)
    rows = []
    for place, processes in product(sorted({profile.hull[0], profile.hull[-1]}), (False, True)):
        level = profile.levels[place]
        options: dict[str, Any] = {"policy": f"static:{level.name}", "slo_s": 1.0, "workers": 2, "processes": processes}
        with RetrievalEngine(retriever, profile, **options) as engine:
            engine.warm_up()
            times: dict[str, list[float]] = {"direct": [], "engine": []}
            for number in range(rounds):
                text = queries[number % len(queries)]
                for name in ("direct", "engine") if number % 2 else ("engine", "direct"):
                    started = perf_counter()
                    if name == "direct":
                        list(retriever.search(text, 10, subnet=level.name, recall=level.recall))
                    else:
                        engine.ask(text, 10)
                    times[name].append(perf_counter() - started)
        added_s = median(mine - its for mine, its in zip(times["engine"], times["direct"], strict=True))
        rows.append(
            {
                "level": level.name,
                "workers": "processes" if processes else "threads",
                **{f"{name} ms": 1000 * median(its) for name, its in times.items()},
                "added ms": 1000 * added_s,
                "verdict": "kept" if added_s <= _MOST_ADDED_S else "MISSED",
            }
        )
    return rows


def scheduling_rows(profile: Profile, rounds: int = 300) -> list[dict[str, Any]]:
    """Time decisions of the elastic policy while 1,000 requests wait, of which all, some or none can be in time."""
    rows = []
    for name, levels in {"profile": profile, "16 levels": _ladder_of(16), "3 levels": _ladder_of(3)}.items():
        smallest_s = 1 / levels.levels[levels.hull[-1]].capacity_per_s()
        for slack, factor in {"plenty of time": 50.0, "between levels": 3.0, "hardly enough": 0.65}.items():
            seconds = _decisions(levels, slack_s=1000 * smallest_s * factor, rounds=rounds)
            rows.append(
                {
                    "ladder": name,
                    "levels": len(levels.hull),
                    "queue": slack,
                    "us median": 1e6 * median(seconds),
                    "us p99": 1e6 * float(np.percentile(seconds, 99)),
                    "verdict": "kept" if median(seconds) <= _MOST_A_DECISION_S else "MISSED",
                }
            )
    return rows


def _decisions(profile: Profile, *, slack_s: float, rounds: int) -> list[float]:
    """Return the time of each decision with 1,000 waiting; the queue is filled up again after each."""
    settings = SchedulerSettings(slo_s=slack_s, workers=2, max_unfinished=4096)
    scheduler = Scheduler(profile, make_policy("elastic", profile, slo_s=slack_s, workers=2), settings)
    seconds, number = [], 0
    for _ in range(rounds):
        while scheduler.n_waiting < 1000:
            # All came at one moment, so long ago that the rate of arrivals spares nobody to look at the queue.
            due_s = slack_s * (0.6 + 0.4 * (number % 1000) / 1000)
            scheduler.add(Request(id=number, query=number, arrival_s=-1.0, deadline_s=max(due_s, slack_s * 0.99)))
            number += 1
        started = perf_counter()
        batch = scheduler.schedule(0.0)
        seconds.append(perf_counter() - started)
        if batch is not None:
            scheduler.finished(batch, batch.expected_s)
    return seconds


def _ladder_of(n: int) -> Profile:
    """Return a profile of n levels on a concave curve of quality over time."""
    levels = []
    for number in range(n):
        share = (n - number) / n
        quality, alone_s = 0.8 + 0.2 * share**0.5, 0.0004 + 0.002 * share
        levels.append(Level(name=f"level{number}", quality=quality, measured_s={1: alone_s, 32: 24 * alone_s}))
    return Profile(levels=levels)
