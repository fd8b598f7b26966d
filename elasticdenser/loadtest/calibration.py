"""Calibration of the simulator by a real run: run times, their scatter, and delays to the engine and back.

The calibration comes from the same run that is then simulated. Agreement of the two shows that the scheduler's model
of the engine is right on the machine as it was during the run; it does not show that a simulation predicts a run on an
unknown machine. Far above the capacity, where hardly any request is answered in time, agreement means little.
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
from elasticdenser.loadtest.generator import LoadRun
from elasticdenser.loadtest.target import LoadResponse

AGREEMENT_TOLERANCE = 0.02
"""Largest difference of a share or a retention that still counts as agreement."""

_MIN_BATCHES = 5
"""Below this, a median of run times is too uncertain to use."""

_PERIOD_S = 0.1
_MAX_PERIODS = 200
"""Slowdowns are estimated for periods of 0.1 s, longer in long runs: the simulator searches all of them per batch."""

_N_ROUNDS = 3
"""Rounds of the estimates in turns; further rounds hardly change them."""

_MAX_NOISE = 2.0
"""Largest noise that the simulator accepts."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Differences between a run and what the profile and an ideal machine promise.

    Attributes:
        typical_profile: The profile with the typical run times of the run.
        slowdowns: Slowdown of the machine in each period, relative to the typical run times.
        ratio: Mean ratio of run time to profiled run time, over batches.
        noise: Scatter of the run times that remains: standard deviation of the logarithm.
        delay_in_s: Mean time from the scheduled time of a request until the engine had it.
        delay_out_s: Mean time from the end of a batch until the load generator had its answers.
        delays: These two times for each request; unknown ones are interpolated from neighbouring requests.
        pause_s: Mean time between two batches of a worker while requests were waiting.
    """

    typical_profile: Profile
    slowdowns: Sequence[Slowdown]
    ratio: float
    noise: float
    delay_in_s: float
    delay_out_s: float
    delays: Delays
    pause_s: float


@dataclass(frozen=True, kw_only=True)
class _BatchRecord:
    """A batch of the run.

    Attributes:
        level: Name of its level.
        batch_size: Number of its queries.
        ran_s: Its run time.
        end_s: Time at which it ended.
        first_arrival_s: Arrival in the engine of its first request.
    """

    level: str
    batch_size: int
    ran_s: float
    end_s: float
    first_arrival_s: float

    @property
    def start_s(self) -> float:
        return self.end_s - self.ran_s

    def profiled_s(self, profile: Profile) -> float:
        """Return the run time that a profile gives for such a batch."""
        return profile.levels[profile.level_index(self.level)].latency_s[self.batch_size]


def calibrate(run: LoadRun, profile: Profile, *, workers: int) -> Calibration | None:
    """Return the calibration by a run; None if too few batches ran.

    Args:
        run: The run.
        profile: Profile of the engine.
        workers: Number of workers of the engine.
    """
    batches = _batches_by_end(run.responses)
    if len(batches) < _MIN_BATCHES:
        return None
    received_s = {outcome.request.id: outcome.end_s for outcome in run.outcomes}
    delays_out_s = np.full(len(run.delays_in_s), np.nan)
    for response in run.responses:
        if response.finished_s:
            delays_out_s[response.number] = max(0.0, received_s[response.number] - response.finished_s)
    ratios = np.asarray([batch.ran_s / batch.profiled_s(profile) for batch in batches])
    typical_profile, slowdowns, residuals = _separate(profile, batches)
    return Calibration(
        typical_profile=typical_profile,
        slowdowns=slowdowns,
        ratio=float(ratios.mean()),
        noise=min(float(np.std(np.log(residuals))), _MAX_NOISE),
        delay_in_s=float(np.nanmean(run.delays_in_s)),
        delay_out_s=float(np.nanmean(delays_out_s)),
        delays=Delays(in_s=_interpolate_unknown(run.delays_in_s), out_s=_interpolate_unknown(delays_out_s)),
        pause_s=_mean_pause_s(batches, workers),
    )


def simulate_calibrated(
    policy: str | Policy | PolicyFactory,
    arrivals: Times | ClosedLoop,
    profile: Profile,
    calibration: Calibration,
    settings: SimulationSettings,
) -> list[Outcome]:
    """Simulate the run that gave a calibration, with the same policy and arrivals."""
    calibrated = replace(
        settings,
        noise=calibration.noise,
        slowdowns=calibration.slowdowns,
        delay_in_s=calibration.delay_in_s,
        delay_out_s=calibration.delay_out_s,
        pause_s=calibration.pause_s,
    )
    delays = None if isinstance(arrivals, ClosedLoop) else calibration.delays
    return simulate(profile, policy, arrivals, calibrated, actual=calibration.typical_profile, delays=delays)


def agree(real: Summary, simulated: Summary) -> bool:
    """Return whether a run and its simulation agree: in the share answered in time, and in the retention."""
    in_time, retention = abs(real.in_time - simulated.in_time), abs(real.retention - simulated.retention)
    return max(in_time, retention) <= AGREEMENT_TOLERANCE


def _interpolate_unknown(delays_s: Times) -> Times:
    """Return delays with each NaN replaced by linear interpolation between its neighbours."""
    is_known = ~np.isnan(delays_s)
    numbers = np.arange(len(delays_s))
    return np.interp(numbers, numbers[is_known], delays_s[is_known])


def _batches_by_end(responses: Iterable[LoadResponse]) -> list[_BatchRecord]:
    """Return the batches of a run, in the order of their ends."""
    groups: dict[tuple[int, str, int, float], list[LoadResponse]] = {}
    for response in responses:
        if response.level is not None and response.batch_size and response.finished_s:
            key = (response.batch_number, response.level, response.batch_size, response.ran_s)
            groups.setdefault(key, []).append(response)
    batches = [
        _BatchRecord(
            level=level,
            batch_size=batch_size,
            ran_s=ran_s,
            end_s=min(response.finished_s for response in group),
            first_arrival_s=min(response.finished_s - response.ran_s - response.queued_s for response in group),
        )
        for (_, level, batch_size, ran_s), group in groups.items()
    ]
    return sorted(batches, key=lambda batch: batch.end_s)


def _separate(profile: Profile, batches: Sequence[_BatchRecord]) -> tuple[Profile, list[Slowdown], list[float]]:
    """Return typical run times, slowdowns of the machine, and the factors that neither explains.

    The two are estimated in turns, each with the other one divided out: a level that is used only while the machine is
    slow is not itself slow.
    """
    factors = [1.0] * len(batches)
    for number in range(_N_ROUNDS + 1):
        # In the first round the slowdowns are unknown, and would be mistaken for slow levels.
        typical_profile = _typical_profile(profile, batches, factors, by_level=number > 0)
        slowdowns = _slowdowns(typical_profile, batches)  # last, so that the total run time of each period is exact
        starts_s = [slowdown.start_s for slowdown in slowdowns]
        factors = [slowdowns[max(0, bisect_right(starts_s, batch.start_s) - 1)].factor for batch in batches]
    residuals = [
        batch.ran_s / batch.profiled_s(typical_profile) / factor for batch, factor in zip(batches, factors, strict=True)
    ]
    return typical_profile, slowdowns, residuals


def _typical_profile(
    profile: Profile, batches: Sequence[_BatchRecord], factors: Sequence[float], *, by_level: bool
) -> Profile:
    """Return the profile with the typical run times of the run.

    They are medians of the ratios to the profile, by level and batch size where enough batches ran, otherwise by level,
    otherwise over all batches. Medians, because a program that takes the processor for a moment makes a few batches
    many times as long as all others, and would distort a mean.
    """
    ratios = [batch.ran_s / batch.profiled_s(profile) / factor for batch, factor in zip(batches, factors, strict=True)]
    overall = _median(ratios, 1.0)
    levels = []
    for level in profile.levels:
        measured_sizes = sorted(level.measured_s)
        by_size: dict[int, list[float]] = {batch_size: [] for batch_size in measured_sizes}
        for batch, ratio in zip(batches, ratios, strict=True):
            if by_level and batch.level == level.name:
                nearest = min(measured_sizes, key=lambda batch_size: abs(batch_size - batch.batch_size))
                by_size[nearest].append(ratio)
        of_level = _median([ratio for group in by_size.values() for ratio in group], overall)
        measured_s = {n: level.measured_s[n] * _median(by_size[n], of_level) for n in measured_sizes}
        alone_by_tokens_s = {tokens: seconds * of_level for tokens, seconds in level.alone_by_tokens_s.items()}
        levels.append(replace(level, measured_s=measured_s, alone_by_tokens_s=alone_by_tokens_s))
    return Profile(levels=levels, measured=profile.measured)


def _median(ratios: Sequence[float], default: float) -> float:
    return float(np.median(ratios)) if len(ratios) >= _MIN_BATCHES else default


def _slowdowns(typical_profile: Profile, batches: Sequence[_BatchRecord]) -> list[Slowdown]:
    """Return the slowdown of the machine in each period: other programs come and go.

    The factor of a period is the total run time of its batches, divided by their total typical run time.
    """
    length_s = max(_PERIOD_S, batches[-1].end_s / _MAX_PERIODS)
    periods: dict[int, list[_BatchRecord]] = {}
    for batch in batches:
        periods.setdefault(int(batch.start_s // length_s), []).append(batch)
    return [
        Slowdown(
            start_s=number * length_s,
            end_s=(number + 1) * length_s,
            factor=sum(batch.ran_s for batch in group) / sum(batch.profiled_s(typical_profile) for batch in group),
        )
        for number, group in sorted(periods.items())
    ]


def _mean_pause_s(batches: Sequence[_BatchRecord], workers: int) -> float:
    """Return the mean time between two batches of a worker, over those where a request of the second was waiting."""
    pauses_s = []
    idle_since_s: list[float] = []  # one entry for each idle worker
    by_end = iter(batches)
    next_to_end = next(by_end, None)
    for batch in sorted(batches, key=lambda batch: batch.start_s):
        while next_to_end is not None and next_to_end.end_s <= batch.start_s:
            idle_since_s.append(next_to_end.end_s)
            next_to_end = next(by_end, None)
        if idle_since_s:
            end_s = idle_since_s.pop()
            if batch.first_arrival_s < end_s:
                pauses_s.append(batch.start_s - end_s)
            del idle_since_s[: max(0, len(idle_since_s) - workers)]
    return float(np.mean(pauses_s)) if pauses_s else 0.0
