"""Summary of a run of the engine, simulated or real, and its timeline."""

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
    """Summary of a run.

    Attributes:
        policy: Name of the policy.
        n_requests: Number of requests.
        in_time: Share of requests that were answered in time.
        refused: Share of requests that were rejected, on arrival or later, or that failed.
        late: Share of requests that were answered late.
        lost: Share of requests that never ended; only a real client can observe this.
        p50_s: Median latency of the answers, None without an answer.
        p95_s: 95th percentile of the latency.
        p99_s: 99th percentile of the latency.
        retention: Mean quality over all requests; those late or without an answer count 0.
        in_time_per_s: Answers in time a second, from the first arrival to the last arrival or answer in time.
        levels: Share of the answers by level, best level first.
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
    """Course of a run in intervals of equal length. Requests count at their arrival; None where there are none.

    Attributes:
        interval_s: Length of an interval.
        arrivals_per_s: Requests a second.
        in_time: Share of them answered in time.
        quality: Mean quality of their answers.
        retention: Mean quality over all of them; those late or without an answer count 0.
        p99_s: 99th percentile of the latency of their answers.
        levels: Share of their answers by level, best level first.
    """

    interval_s: float
    arrivals_per_s: list[float]
    in_time: list[float | None]
    quality: list[float | None]
    retention: list[float | None]
    p99_s: list[float | None]
    levels: dict[str, list[float | None]]


def summarise(policy: str, outcomes: Sequence[Outcome], profile: Profile) -> Summary:
    """Return the summary of a run.

    Args:
        policy: Name of the policy.
        outcomes: The outcomes of its requests.
        profile: The levels.
    """
    n = max(1, len(outcomes))
    answers = [outcome for outcome in outcomes if outcome.level is not None]
    in_time = [outcome for outcome in answers if outcome.status is Status.IN_TIME]
    quality = _qualities(profile)
    n_lost = sum(outcome.status is Status.LOST for outcome in outcomes)
    arrivals_s = [outcome.request.arrival_s for outcome in outcomes] or [0.0]
    length_s = max([*arrivals_s, *(outcome.at_s for outcome in in_time)]) - min(arrivals_s)
    counts = Counter(outcome.level for outcome in answers)
    latencies_s = np.asarray([outcome.latency_s for outcome in answers])
    p50_s, p95_s, p99_s = np.percentile(latencies_s, (50, 95, 99)).tolist() if answers else (None, None, None)
    return Summary(
        policy=policy,
        n_requests=len(outcomes),
        in_time=len(in_time) / n,
        refused=(len(outcomes) - len(answers) - n_lost) / n,
        late=(len(answers) - len(in_time)) / n,
        lost=n_lost / n,
        p50_s=p50_s,
        p95_s=p95_s,
        p99_s=p99_s,
        retention=math.fsum(quality[outcome.level] for outcome in in_time if outcome.level) / n,
        in_time_per_s=len(in_time) / length_s if length_s > 0 else 0.0,
        levels={level.name: counts[level.name] / len(answers) for level in profile.levels if counts[level.name]},
    )


def timeline_of(outcomes: Sequence[Outcome], profile: Profile, seconds: float, n_intervals: int = 120) -> Timeline:
    """Return the timeline of a run of `seconds`."""
    interval_s = seconds / n_intervals
    arrived: list[list[Outcome]] = [[] for _ in range(n_intervals)]
    for outcome in outcomes:
        arrived[min(int(outcome.request.arrival_s / interval_s), n_intervals - 1)].append(outcome)
    answered = [[outcome for outcome in group if outcome.level is not None] for group in arrived]
    quality = _qualities(profile)
    used_levels = {outcome.level for group in answered for outcome in group}

    def delivered_quality(outcome: Outcome) -> float:
        return quality[outcome.level] if outcome.level and outcome.status is Status.IN_TIME else 0.0

    return Timeline(
        interval_s=interval_s,
        arrivals_per_s=[len(group) / interval_s for group in arrived],
        in_time=[_mean([outcome.status is Status.IN_TIME for outcome in group]) for group in arrived],
        quality=[_mean([quality[outcome.level] for outcome in group if outcome.level]) for group in answered],
        retention=[_mean(list(map(delivered_quality, group))) for group in arrived],
        p99_s=[
            float(np.percentile([outcome.latency_s for outcome in group], 99)) if group else None for group in answered
        ],
        levels={
            level.name: [_mean([outcome.level == level.name for outcome in group]) for group in answered]
            for level in profile.levels
            if level.name in used_levels
        },
    )


def _qualities(profile: Profile) -> dict[str, float]:
    return {level.name: level.quality for level in profile.levels}


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
