"""What a real run tells the simulator: run times, their scatter, and the ways to the engine and back.

What is found is found in the run that is then simulated. That the two agree therefore says that the scheduler's model
of the engine is right, given the machine as it was; it does not say that the simulation foresees a run on a machine
that is still unknown. And where both shares are near 0, far past the capacity, agreement is cheap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Outcome
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
from elasticdenser.engine.simulation.settings import Delays, SimulationSettings, Slowdown
from elasticdenser.engine.simulation.simulator import simulate
from elasticdenser.engine.simulation.summary import Summary
from elasticdenser.loadtest.client import Run
from elasticdenser.loadtest.target import Reply

AGREE_WITHIN = 0.02
_ENOUGH = 5
_MOMENT_S = 0.1
_MOST_MOMENTS = 200
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a run differed from what the profile and an ideal machine promise.

    Attributes:
        actual: Run times as they usually were.
        slowdowns: How much longer they were at each moment.
        ratio: Mean of run time by profiled run time, over batches.
        noise: Scatter of run times around those: standard deviation of the logarithm.
        way_in_s: Mean time from when a request was to be sent until the engine had it.
        way_out_s: Mean time from the end of a batch until the client had its answers.
        ways: Those times of each request; where they are not known, as those next to it.
        pause_s: Mean time between two batches of a worker while requests waited.
    """

    actual: Profile
    slowdowns: Sequence[Slowdown]
    ratio: float
    noise: float
    way_in_s: float
    way_out_s: float
    ways: Delays
    pause_s: float


@dataclass(frozen=True, kw_only=True)
class _Ran:
    """A batch that ran."""

    level: str
    size: int
    ran_s: float
    end_s: float
    first_s: float

    @property
    def start_s(self) -> float:
        return self.end_s - self.ran_s


def calibrate(run: Run, profile: Profile, *, workers: int) -> Calibration | None:
    """Return what a run tells, None if too few batches ran to tell anything.

    Args:
        run: The run.
        profile: The levels as the engine knew them.
        workers: Its workers.
    """
    batches = _batches(run.replies)
    if len(batches) < _ENOUGH:
        return None
    ends_s = {one.request.id: one.at_s for one in run.outcomes}
    ways_out_s = np.full(len(run.ways_in_s), np.nan)
    for one in run.replies:
        if one.at_s:
            ways_out_s[one.number] = max(0.0, ends_s[one.number] - one.at_s)
    ratios = np.asarray([one.ran_s / _profiled_s(profile, one) for one in batches])
    typical, slowdowns, left = _told_apart(profile, batches)
    return Calibration(
        actual=typical,
        slowdowns=slowdowns,
        ratio=float(ratios.mean()),
        noise=min(float(np.std(np.log(left))), 2.0),
        way_in_s=float(np.nanmean(run.ways_in_s)),
        way_out_s=float(np.nanmean(ways_out_s)),
        ways=Delays(in_s=_filled(run.ways_in_s), out_s=_filled(ways_out_s)),
        pause_s=_pause_s(batches, workers),
    )


def simulated_alike(
    policy: str | Policy | PolicyFactory,
    arrivals: Times | ClosedLoop,
    profile: Profile,
    calibration: Calibration,
    settings: SimulationSettings,
) -> list[Outcome]:
    """Simulate what was run: the same policy and arrivals, on a machine as it was found to be."""
    alike = replace(
        settings,
        noise=calibration.noise,
        slowdowns=calibration.slowdowns,
        way_in_s=calibration.way_in_s,
        way_out_s=calibration.way_out_s,
        pause_s=calibration.pause_s,
    )
    delays = None if isinstance(arrivals, ClosedLoop) else calibration.ways
    return simulate(profile, policy, arrivals, alike, actual=calibration.actual, delays=delays)


def _filled(ways_s: Times) -> Times:
    """Return the ways with those that are not known, NaN, taken from between their neighbours."""
    is_known = ~np.isnan(ways_s)
    places = np.arange(len(ways_s))
    return np.interp(places, places[is_known], ways_s[is_known])


def agree(real: Summary, simulated: Summary) -> bool:
    """Return whether the shares in time and the retentions differ by at most .02; see above for what that is worth."""
    in_time, retention = abs(real.in_time - simulated.in_time), abs(real.retention - simulated.retention)
    return max(in_time, retention) <= AGREE_WITHIN


def _batches(replies: Iterable[Reply]) -> list[_Ran]:
    """Return the batches that ran, by their ends."""
    groups: dict[tuple[int, str, int, float], list[Reply]] = {}
    for one in replies:
        if one.level is not None and one.batch_size and one.at_s:
            groups.setdefault((one.batch, one.level, one.batch_size, one.ran_s), []).append(one)
    found = []
    for (_, level, size, ran_s), its in groups.items():
        end_s = min(one.at_s for one in its)
        first_s = min(one.at_s - one.ran_s - one.queued_s for one in its)
        found.append(_Ran(level=level, size=size, ran_s=ran_s, end_s=end_s, first_s=first_s))
    return sorted(found, key=lambda one: one.end_s)


def _profiled_s(profile: Profile, one: _Ran) -> float:
    return profile.levels[profile.level_index(one.level)].latency_s[one.size]


def _told_apart(profile: Profile, batches: Sequence[_Ran]) -> tuple[Profile, list[Slowdown], list[float]]:
    """Return run times as they usually were, when the machine was slower, and what neither explains, as factors.

    Each is found with the other one taken out, in turns: a level that is used only while the machine is slow is not
    itself slow.
    """
    factors = [1.0] * len(batches)
    for number in range(_ROUNDS + 1):
        typical = _as_seen(profile, batches, factors, apart=number > 0)
        slowdowns = _slowdowns(typical, batches)  # last, so that of each moment the time in all is as it was
        starts_s = [one.start_s for one in slowdowns]
        factors = [slowdowns[max(0, bisect_right(starts_s, one.start_s) - 1)].factor for one in batches]
    left = [one.ran_s / _profiled_s(typical, one) / factor for one, factor in zip(batches, factors, strict=True)]
    return typical, slowdowns, left


def _as_seen(profile: Profile, batches: Sequence[_Ran], factors: Sequence[float], *, apart: bool = True) -> Profile:
    """Return the profile with run times as seen: by level and size where there is enough to see, else by level.

    Medians: where other programs take a processor away, a few batches take many times as long as all others, and a
    mean would make the whole level look like them.
    """
    ratios = [one.ran_s / _profiled_s(profile, one) / factor for one, factor in zip(batches, factors, strict=True)]
    overall = _median(ratios, 1.0)
    levels = []
    for level in profile.levels:
        sizes = sorted(level.measured_s)
        near: dict[int, list[float]] = {size: [] for size in sizes}
        for one, ratio in zip(batches, ratios, strict=True):
            if apart and one.level == level.name:
                near[min(sizes, key=lambda size: abs(size - one.size))].append(ratio)
        of_level = _median([ratio for its in near.values() for ratio in its], overall)
        measured_s = {size: level.measured_s[size] * _median(near[size], of_level) for size in sizes}
        levels.append(replace(level, measured_s=measured_s))
    return Profile(levels=levels, measured=profile.measured)


def _median(ratios: Sequence[float], default: float) -> float:
    return float(np.median(ratios)) if len(ratios) >= _ENOUGH else default


def _slowdowns(typical: Profile, batches: Sequence[_Ran]) -> list[Slowdown]:
    """Return how much slower than usual the machine was at each moment: other programs come and go.

    A moment's factor is the time that its batches took by what they usually take.
    """
    end_s = batches[-1].end_s
    length_s = max(_MOMENT_S, end_s / _MOST_MOMENTS)
    moments: dict[int, list[_Ran]] = {}
    for one in batches:
        moments.setdefault(int(one.start_s // length_s), []).append(one)
    return [
        Slowdown(
            start_s=number * length_s,
            end_s=(number + 1) * length_s,
            factor=sum(one.ran_s for one in its) / sum(_profiled_s(typical, one) for one in its),
        )
        for number, its in sorted(moments.items())
    ]


def _pause_s(batches: Sequence[_Ran], workers: int) -> float:
    """Return the mean time from the end of a batch to the start of that worker's next, where one had to wait."""
    pauses_s = []
    free_s: list[float] = []
    ends = iter(batches)
    ahead = next(ends, None)
    for one in sorted(batches, key=lambda batch: batch.start_s):
        while ahead is not None and ahead.end_s <= one.start_s:
            free_s.append(ahead.end_s)
            ahead = next(ends, None)
        if free_s:
            end_s = free_s.pop()
            if one.first_s < end_s:
                pauses_s.append(one.start_s - end_s)
            del free_s[: max(0, len(free_s) - workers)]
    return float(np.mean(pauses_s)) if pauses_s else 0.0
