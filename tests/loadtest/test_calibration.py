"""Calibration of the simulator by a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from load_fakes import PROFILE

from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Outcome, Request, Status
from elasticdenser.engine.simulation.arrivals import bursts, poisson
from elasticdenser.engine.simulation.settings import Delays, SimulationSettings, Slowdown
from elasticdenser.engine.simulation.simulator import simulate
from elasticdenser.engine.simulation.summary import summarise
from elasticdenser.loadtest.calibration import agree, calibrate, simulate_calibrated
from elasticdenser.loadtest.generator import LoadRun
from elasticdenser.loadtest.target import LoadResponse

SLOWER_PROFILE = Profile(
    levels=[
        Level(name=level.name, quality=level.quality, measured_s={n: 1.5 * s for n, s in level.measured_s.items()})
        for level in PROFILE.levels
    ]
)


def load_run(outcomes, responses, delays_in_s):
    return LoadRun(
        outcomes=outcomes,
        responses=responses,
        delays_in_s=delays_in_s,
        lateness_s=delays_in_s,
        memory=[],
        last_sent_s=3.0,
        was_stopped=False,
    )


def as_load_run(outcomes, delay_in_s, delay_out_s):
    """Return simulated outcomes as the load generator would have recorded them."""
    responses = [
        LoadResponse(
            outcome.request.id,
            outcome.status,
            outcome.level,
            outcome.batch_size,
            outcome.queued_s,
            outcome.ran_s,
            outcome.end_s - delay_out_s,
        )
        for outcome in outcomes
        if outcome.level
    ]
    delays_in_s = np.full(len(outcomes), np.nan)
    for outcome in outcomes:
        if outcome.status is not Status.SHED:
            delays_in_s[outcome.request.id] = delay_in_s
    return load_run(outcomes, responses, delays_in_s)


@pytest.mark.parametrize("policy", ["elastic", "static:w1-d3"])
@pytest.mark.parametrize("workers", [1, 2])
def test_calibration_recovers_the_machine(policy, workers):
    times = bursts(300, 1200, 3, np.random.default_rng(3), mean_calm_s=0.5, mean_burst_s=0.5)
    known = {"deadline_s": 0.025, "seconds": 3.0, "workers": workers}
    slow = [Slowdown(start_s=1.0, end_s=1.5, factor=2.0)]
    machine = {"noise": 0.1, "delay_in_s": 0.001, "delay_out_s": 0.0005, "pause_s": 0.0004, "slowdowns": slow}
    outcomes = simulate(PROFILE, policy, times, SimulationSettings(**known, **machine), actual=SLOWER_PROFILE)
    calibration = calibrate(as_load_run(outcomes, 0.001, 0.0005), PROFILE, workers=workers)
    assert calibration.delay_in_s == pytest.approx(0.001) and calibration.delay_out_s == pytest.approx(0.0005)
    assert 1.4 < calibration.ratio < 2.5
    assert calibration.pause_s == pytest.approx(0.0004, abs=0.0002)
    during = [slowdown.factor for slowdown in calibration.slowdowns if 1.05 < slowdown.start_s < 1.35]
    before = [slowdown.factor for slowdown in calibration.slowdowns if slowdown.end_s < 0.95]
    assert np.mean(during) > 1.05 * np.mean(before)
    again = simulate_calibrated(policy, times, PROFILE, calibration, SimulationSettings(**known, seed=5))
    assert agree(summarise(policy, outcomes, PROFILE), summarise(policy, again, PROFILE))


def test_batches_of_equal_run_times_are_distinguished_by_their_numbers():
    responses = [LoadResponse(n, Status.IN_TIME, "level0", 1, 0.0, 0.001, float(n), batch_number=n) for n in range(10)]
    requests = [Request(id=n, query=n, arrival_s=n - 0.001, deadline_s=n + 1.0) for n in range(10)]
    outcomes = [
        Outcome(request=request, status=Status.IN_TIME, end_s=request.id + 0.001, level="level0")
        for request in requests
    ]
    run = load_run(outcomes, responses, np.zeros(10))
    assert calibrate(run, PROFILE, workers=1) is not None  # a single batch would be too few


def test_too_few_batches_give_no_calibration():
    outcomes = simulate(PROFILE, "elastic", np.array([0.0, 0.1]), SimulationSettings(deadline_s=1.0, seconds=1.0))
    assert calibrate(as_load_run(outcomes, 0.0, 0.0), PROFILE, workers=1) is None


def test_each_request_may_have_its_own_delays():
    times = poisson(50, 1, np.random.default_rng(0))
    delays = Delays(in_s=np.linspace(0, 0.01, len(times)), out_s=np.linspace(0.02, 0, len(times)))
    settings = SimulationSettings(deadline_s=0.1, seconds=1.0, noise=0)
    outcomes = simulate(PROFILE, "static:level0", times, settings, delays=delays)
    by_number = sorted(outcomes, key=lambda outcome: outcome.request.id)
    assert np.allclose([outcome.request.arrival_s for outcome in by_number], times)
    delays_s = np.asarray([outcome.latency_s - outcome.queued_s - outcome.ran_s for outcome in by_number])
    assert np.allclose(delays_s, delays.in_s + delays.out_s)


def test_unknown_delays_are_interpolated():
    times = np.linspace(0, 1, 30)
    outcomes = simulate(PROFILE, "static:level0", times, SimulationSettings(deadline_s=0.1, seconds=1.0))
    run = as_load_run(outcomes, 0.001, 0.0)
    run.delays_in_s[:] = np.where(np.arange(30) < 15, 0.002, 0.006)
    run.delays_in_s[[0, 14]] = np.nan
    responses = [
        response._replace(finished_s=response.finished_s - 0.004 * (response.number >= 15))
        for response in run.responses
        if response.number != 20
    ]
    calibration = calibrate(replace(run, responses=responses), PROFILE, workers=1)
    assert calibration.delays.in_s[[0, 13, 14, 15]] == pytest.approx([0.002, 0.002, 0.004, 0.006])
    assert calibration.delays.out_s[[0, 15, 20]] == pytest.approx([0.0, 0.004, 0.004])
