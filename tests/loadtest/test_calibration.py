"""What a run tells the simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from load_fakes import PROFILE

from elasticdenser.engine.profiling.profile import Level, Profile
from elasticdenser.engine.request import Outcome, Request, Status
from elasticdenser.engine.simulation.arrivals import bursts, poisson
from elasticdenser.engine.simulation.settings import Delays, SimulationSettings, Slowdown
from elasticdenser.engine.simulation.simulator import simulate
from elasticdenser.engine.simulation.summary import summarise
from elasticdenser.loadtest.calibration import agree, calibrate, simulated_alike
from elasticdenser.loadtest.client import Run
from elasticdenser.loadtest.target import Reply

SLOWER = Profile(
    levels=[
        Level(name=one.name, quality=one.quality, measured_s={n: 1.5 * s for n, s in one.measured_s.items()})
        for one in PROFILE.levels
    ]
)


def run_of(outcomes, way_in_s, way_out_s):
    """Return what a client would have seen of simulated outcomes."""
    replies = [
        Reply(one.request.id, one.status, one.level, one.batch_size, one.queued_s, one.ran_s, one.at_s - way_out_s)
        for one in outcomes
        if one.level
    ]
    ways = np.full(len(outcomes), np.nan)
    for one in outcomes:
        if one.status is not Status.SHED:
            ways[one.request.id] = way_in_s
    return Run(
        outcomes=outcomes, replies=replies, ways_in_s=ways, lags_s=ways, memory=[], seconds=3.0, was_stopped=False
    )


@pytest.mark.parametrize("policy", ["elastic", "static:w1-d3"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_machine_is_found_as_it_is(policy, workers):
    times = bursts(300, 1200, 3, np.random.default_rng(3), mean_calm_s=0.5, mean_burst_s=0.5)
    slow = [Slowdown(start_s=1.0, end_s=1.5, factor=2.0)]
    known = {"deadline_s": 0.025, "seconds": 3.0, "workers": workers}
    machine = {"noise": 0.1, "way_in_s": 0.001, "way_out_s": 0.0005, "pause_s": 0.0004, "slowdowns": slow}
    outcomes = simulate(PROFILE, policy, times, SimulationSettings(**known, **machine), actual=SLOWER)
    found = calibrate(run_of(outcomes, 0.001, 0.0005), PROFILE, workers=workers)
    assert found.way_in_s == pytest.approx(0.001) and found.way_out_s == pytest.approx(0.0005)
    assert 1.4 < found.ratio < 2.5
    assert found.pause_s == pytest.approx(0.0004, abs=0.0002)
    in_slow = [one.factor for one in found.slowdowns if 1.05 < one.start_s < 1.35]
    before = [one.factor for one in found.slowdowns if one.end_s < 0.95]
    assert np.mean(in_slow) > 1.05 * np.mean(before)
    again = simulated_alike(policy, times, PROFILE, found, SimulationSettings(**known, seed=5))
    assert agree(summarise(policy, outcomes, PROFILE), summarise(policy, again, PROFILE))


def test_batches_of_equal_run_times_are_told_apart_by_their_numbers():
    replies = [Reply(n, Status.IN_TIME, "level0", 1, 0.0, 0.001, float(n), batch=n) for n in range(10)]
    requests = [Request(id=n, query=n, arrival_s=n - 0.001, deadline_s=n + 1.0) for n in range(10)]
    outcomes = [Outcome(request=its, status=Status.IN_TIME, at_s=its.id + 0.001, level="level0") for its in requests]
    ways = np.zeros(10)
    made = Run(
        outcomes=outcomes, replies=replies, ways_in_s=ways, lags_s=ways, memory=[], seconds=10, was_stopped=False
    )
    assert calibrate(made, PROFILE, workers=1) is not None  # enough batches, where one would be too few


def test_too_little_tells_nothing():
    outcomes = simulate(PROFILE, "elastic", np.array([0.0, 0.1]), SimulationSettings(deadline_s=1.0, seconds=1.0))
    assert calibrate(run_of(outcomes, 0.0, 0.0), PROFILE, workers=1) is None


def test_each_request_may_have_its_own_ways():
    times = poisson(50, 1, np.random.default_rng(0))
    ways = Delays(in_s=np.linspace(0, 0.01, len(times)), out_s=np.linspace(0.02, 0, len(times)))
    settings = SimulationSettings(deadline_s=0.1, seconds=1.0, noise=0)
    outcomes = simulate(PROFILE, "static:level0", times, settings, delays=ways)
    by_number = sorted(outcomes, key=lambda one: one.request.id)
    assert np.allclose([one.request.arrival_s for one in by_number], times)
    taken_s = np.asarray([one.latency_s - one.queued_s - one.ran_s for one in by_number])
    assert np.allclose(taken_s, ways.in_s + ways.out_s)


def test_ways_that_are_not_known_are_as_those_beside_them():
    times = np.linspace(0, 1, 30)
    settings = SimulationSettings(deadline_s=0.1, seconds=1.0)
    outcomes = simulate(PROFILE, "static:level0", times, settings)
    seen = run_of(outcomes, 0.001, 0.0)
    seen.ways_in_s[:] = np.where(np.arange(30) < 15, 0.002, 0.006)
    seen.ways_in_s[[0, 14]] = np.nan
    late = [reply._replace(at_s=reply.at_s - 0.004 * (reply.number >= 15)) for reply in seen.replies]
    found = calibrate(replace(seen, replies=[reply for reply in late if reply.number != 20]), PROFILE, workers=1)
    assert found.ways.in_s[[0, 13, 14, 15]] == pytest.approx([0.002, 0.002, 0.004, 0.006])
    assert found.ways.out_s[[0, 15, 20]] == pytest.approx([0.0, 0.004, 0.004])
