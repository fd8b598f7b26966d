"""What a run of the engine, simulated or real, comes to: figures, and their course over time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Outcome, Status


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of the requests of one run.

    Attributes:
        policy: Its spelling.
        n_requests: Requests.
        in_time: Share of all requests that were answered in time.
        refused: Share turned away, at the door or later, and failed.
        late: Share answered late.
        lost: Share of which nothing was heard again; only a real client has such.
        p50_s: Median latency of the answers in seconds, None without one.
        p95_s: 95th percentile.
        p99_s: 99th percentile.
        retention: Mean quality over all requests; those late or without an answer count 0.
        in_time_per_s: Answers in time a second, from the first arrival to the last one, or to the last answer in time
            if that came later: of a single request, one by its latency.
        levels: Share of the answers that each level gave, best level first.
    """

    policy: str
    n_requests: int
    in_time: float
    refused: float
    late: float
    lost: float
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    retention: float
    in_time_per_s: float
    levels: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A run over time, by intervals of equal length; requests count when they arrive. A list item may be None.

    Attributes:
        interval_s: Length of an interval.
        arrivals_per_s: Requests a second.
        in_time: Share of them answered in time.
        quality: Mean quality of their answers.
        retention: Mean quality over all of them; those late or without an answer count 0.
        p99_s: 99th percentile of their latency in seconds.
        levels: By level, best first, its share of their answers.
    """

    interval_s: float
    arrivals_per_s: list[float]
    in_time: list[float | None]
    quality: list[float | None]
    retention: list[float | None]
    p99_s: list[float | None]
    levels: dict[str, list[float | None]]


def summarise(policy: str, outcomes: Sequence[Outcome], profile: Profile) -> Summary:
    """Return the figures of a run of a policy."""
    n = max(1, len(outcomes))
    answers = [one for one in outcomes if one.level is not None]
    in_time = [one for one in answers if one.status is Status.IN_TIME]
    quality = _qualities(profile)
    n_lost = sum(one.status is Status.LOST for one in outcomes)
    arrivals = [one.request.arrival_s for one in outcomes] or [0.0]
    lasted_s = max([*arrivals, *(one.at_s for one in in_time)]) - min(arrivals)
    counts = Counter(one.level for one in answers)
    latencies = np.asarray([one.latency_s for one in answers])
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).tolist() if answers else (None, None, None)
    return Summary(
        policy=policy,
        n_requests=len(outcomes),
        in_time=len(in_time) / n,
        refused=(len(outcomes) - len(answers) - n_lost) / n,
        late=(len(answers) - len(in_time)) / n,
        lost=n_lost / n,
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        retention=math.fsum(quality[one.level] for one in in_time if one.level) / n,
        in_time_per_s=len(in_time) / lasted_s if lasted_s > 0 else 0.0,
        levels={level.name: counts[level.name] / len(answers) for level in profile.levels if counts[level.name]},
    )


def course(outcomes: Sequence[Outcome], profile: Profile, seconds: float, intervals: int = 120) -> Timeline:
    """Return the course of a run of `seconds`, cut into so many intervals."""
    interval_s = seconds / intervals
    groups: list[list[Outcome]] = [[] for _ in range(intervals)]
    for one in outcomes:
        groups[min(int(one.request.arrival_s / interval_s), intervals - 1)].append(one)
    answers = [[one for one in group if one.level is not None] for group in groups]
    quality = _qualities(profile)
    served = {one.level for group in answers for one in group}
    return Timeline(
        interval_s=interval_s,
        arrivals_per_s=[len(group) / interval_s for group in groups],
        in_time=[_mean([one.status is Status.IN_TIME for one in group]) for group in groups],
        quality=[_mean([quality[one.level] for one in group if one.level]) for group in answers],
        retention=[
            _mean([quality[one.level] if one.level and one.status is Status.IN_TIME else 0.0 for one in group])
            for group in groups
        ],
        p99_s=[float(np.percentile([one.latency_s for one in group], 99)) if group else None for group in answers],
        levels={
            level.name: [_mean([one.level == level.name for one in group]) for group in answers]
            for level in profile.levels
            if level.name in served
        },
    )


def _qualities(profile: Profile) -> dict[str, float]:
    return {level.name: level.quality for level in profile.levels}


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
