"""Simulator, and with it the guarantees of the scheduler under load."""

from __future__ import annotations

import numpy as np
import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, PROFILE_BY_TOKENS, SLO_S
from engine_helpers import level as make_level

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Outcome, Request, Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop, bursts, poisson
from elasticdenser.engine.simulation.settings import SimulationSettings, Slowdown
from elasticdenser.engine.simulation.simulator import simulate
from elasticdenser.engine.simulation.summary import summarise, timeline_of
from elasticdenser.errors import QueryError


def run(policy, arrivals, seconds, **options):
    outcomes = simulate(PROFILE, policy, arrivals, SimulationSettings(deadline_s=SLO_S, seconds=seconds, **options))
    assert sorted(outcome.request.id for outcome in outcomes) == list(range(len(outcomes)))
    return outcomes, summarise(policy, outcomes, PROFILE)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_the_same_seed_gives_the_same_run(rng):
    times = poisson(500, 1, rng)
    assert run("elastic", times, 1)[1] == run("elastic", times, 1)[1]


def test_at_low_load_every_answer_is_of_the_best_level(rng):
    _, summary = run("elastic", poisson(100, 5, rng), 5)
    assert summary.in_time == 1 and summary.retention > 0.999


@pytest.mark.slow
def test_in_bursts_all_are_in_time_and_quality_is_above_every_static_level_that_is(rng):
    times = bursts(200, 0.6 * CAPACITY_PER_S, 4, rng, mean_calm_s=1, mean_burst_s=0.5)
    _, elastic = run("elastic", times, 4)
    assert elastic.in_time >= 0.999
    for level in PROFILE.levels:
        _, static = run(f"static:{level.name}", times, 4)
        assert static.in_time < 0.99 or static.retention < elastic.retention


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("share", [0.7, 0.9])
def test_near_the_capacity_of_the_fastest_level_slack_is_kept(rng, workers, share):
    times = poisson(share * workers * CAPACITY_PER_S, 2, rng)
    options = {"workers": workers, "noise": 0.2, "delay_in_s": 0.0005}
    _, static = run("static:level0", times, 2, **options)
    _, elastic = run("elastic", times, 2, **options)
    assert static.in_time >= 0.999  # so this load can be held
    assert elastic.in_time >= 0.999 and elastic.retention > static.retention


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "times"), [(1, 10), (2, 4)])
def test_far_beyond_its_capacity_the_engine_serves_at_its_capacity(rng, workers, times):
    capacity_per_s = workers * CAPACITY_PER_S
    outcomes, summary = run("elastic", poisson(times * capacity_per_s, 0.3, rng), 0.3, workers=workers)
    assert summary.in_time_per_s >= 0.95 * capacity_per_s
    assert summary.late < 0.001
    rejected = [outcome for outcome in outcomes if outcome.status is Status.REFUSED]
    assert len(rejected) > 0.7 * len(outcomes)
    assert all(outcome.latency_s == 0 for outcome in rejected)  # at once, not after they have waited


@pytest.mark.slow
def test_after_a_burst_the_best_level_is_back_within_a_second(rng):
    times = np.sort(np.concatenate([poisson(100, 4, rng), 1 + poisson(0.9 * CAPACITY_PER_S, 1, rng)]))
    outcomes, _ = run("elastic", times, 4)
    after = [outcome.level for outcome in outcomes if outcome.request.arrival_s > 2.2]
    assert after.count("w1-d6") == len(after)
    assert any(outcome.level == "level0" for outcome in outcomes)


@pytest.mark.slow
def test_a_slow_machine_costs_quality_and_breaks_no_deadline(rng):
    times = poisson(400, 6, rng)
    outcomes, summary = run("elastic", times, 6, slowdowns=[Slowdown(start_s=2, end_s=4, factor=2.5)])
    assert summary.in_time > 0.999
    timeline = timeline_of(outcomes, PROFILE, 6, n_intervals=6)
    assert timeline.quality[3] < timeline.quality[1] and timeline.quality[5] > timeline.quality[3]


def test_clients_that_wait_are_served_at_the_capacity():
    _, summary = run("elastic", ClosedLoop(clients=4), 1, noise=0.0)
    assert summary.in_time == 1 and summary.n_requests == pytest.approx(PROFILE.levels[0].capacity_per_s(), rel=0.2)
    _, crowded = run("static:w1-d6", ClosedLoop(clients=200, think_s=0.01), 0.3)
    assert crowded.refused > 0.3


def test_queries_have_the_lengths_of_the_settings_in_turn():
    settings = SimulationSettings(deadline_s=0.05, seconds=1, noise=0.0, n_tokens=(None, 64))
    outcomes = simulate(PROFILE_BY_TOKENS, "static:w1-d6", np.array([0.0, 0.2, 0.4, 0.6]), settings)
    assert [outcome.latency_s for outcome in outcomes] == pytest.approx([0.002, 0.008] * 2)
    for bad in ((), (0,)):
        with pytest.raises(QueryError, match="tokens; expected one length or more"):
            SimulationSettings(deadline_s=0.05, seconds=1, n_tokens=bad)


def test_summary_and_timeline_of_no_requests():
    summary = summarise("elastic", [], PROFILE)
    assert (summary.n_requests, summary.in_time, summary.p50_s, summary.levels) == (0, 0, None, {})
    empty = timeline_of([], PROFILE, 10, n_intervals=5)
    assert empty.p99_s == [None] * 5 and empty.arrivals_per_s == [0] * 5


def test_a_summary_counts_each_final_state():
    requests = [Request(id=number, query=number, arrival_s=0.0, deadline_s=1.0) for number in range(4)]
    first = Outcome(request=requests[0], status=Status.IN_TIME, end_s=0.5, level="level0")
    assert summarise("elastic", [first], PROFILE).in_time_per_s == 2
    others = [(Status.LATE, "level0"), (Status.REFUSED, None), (Status.LOST, None)]
    rest = [
        Outcome(request=request, status=status, end_s=3.0, level=level)
        for request, (status, level) in zip(requests[1:], others, strict=True)
    ]
    summary = summarise("elastic", [first, *rest], PROFILE)
    assert (summary.in_time, summary.late, summary.refused, summary.lost) == (0.25, 0.25, 0.25, 0.25)
    assert summary.in_time_per_s == 2
    assert timeline_of([first, *rest], PROFILE, 1, n_intervals=2).retention == [summary.retention, None]


@pytest.mark.slow
def test_equal_queries_in_flight_are_answered_once(rng):
    times = poisson(3 * CAPACITY_PER_S, 0.3, rng)
    _, distinct = run("elastic", times, 0.3)
    outcomes, shared = run("elastic", times, 0.3, n_queries=20)
    assert distinct.in_time < 0.5 and shared.in_time > 0.99
    assert {outcome.request.query for outcome in outcomes} == set(range(20))
    with pytest.raises(QueryError, match="got 0 queries"):
        SimulationSettings(deadline_s=0.1, seconds=1, n_queries=0)


def test_a_timeline_counts_requests_at_their_arrival(rng):
    outcomes, summary = run("elastic", poisson(300, 2, rng), 2)
    timeline = timeline_of(outcomes, PROFILE, 2, n_intervals=10)
    assert sum(timeline.arrivals_per_s) * timeline.interval_s == pytest.approx(summary.n_requests)
    assert sum(shares[4] for shares in timeline.levels.values()) == pytest.approx(1)


def test_settings_out_of_range_are_refused():
    for bad in ({"seconds": 0}, {"noise": -1}, {"seconds": float("nan")}):
        with pytest.raises(QueryError, match="expected"):
            SimulationSettings(**{"deadline_s": 0.1, "seconds": 1, **bad})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("noise", [0.1, 0.4])
@pytest.mark.parametrize("times", [1.3, 2, 5])
def test_beyond_its_capacity_batches_stay_large(rng, workers, noise, times):
    # As measured: alone, a query takes twice its share of a large batch. A scheduler that always serves the most urgent
    # requests first serves at half of its capacity from the moment at which it falls behind.
    levels = [make_level("w1-d6", 1.0, 2.6, 56.0), make_level("level0", 0.94, 0.4, 6.4)]
    profile = Profile(levels=levels)
    capacity_per_s = workers * profile.levels[-1].capacity_per_s()
    settings = SimulationSettings(deadline_s=SLO_S, seconds=1, workers=workers, noise=noise)
    outcomes = simulate(profile, "elastic", poisson(times * capacity_per_s, 1, rng), settings)
    assert summarise("elastic", outcomes, profile).in_time_per_s >= 0.95 * capacity_per_s


def test_delays_to_and_from_the_engine_count_as_latency(rng):
    times = poisson(100, 2, rng)
    near, _ = run("static:w1-d3", times, 2, noise=0)
    far, _ = run("static:w1-d3", times, 2, noise=0, delay_in_s=0.004, delay_out_s=0.002)
    assert np.allclose([outcome.request.arrival_s for outcome in far], [outcome.request.arrival_s for outcome in near])
    assert np.allclose([outcome.latency_s for outcome in far], [outcome.latency_s + 0.006 for outcome in near])
    assert all(outcome.request.deadline_s == pytest.approx(outcome.request.arrival_s + SLO_S) for outcome in far)
    _, too_far = run("static:w1-d3", times, 2, noise=0, delay_out_s=SLO_S)
    assert too_far.late == 1


@pytest.mark.slow
def test_a_pause_between_batches_costs_capacity():
    settings = {"noise": 0, "delay_in_s": 0.0}
    _, busy = run("static:level0", ClosedLoop(clients=1), 2, **settings)
    _, pausing = run("static:level0", ClosedLoop(clients=1), 2, pause_s=0.00025, **settings)
    assert pausing.n_requests == pytest.approx(busy.n_requests / 2, rel=0.02)


def test_actual_run_times_may_differ_from_the_profile_of_the_scheduler(rng):
    slower = Profile(levels=[make_level(level.name, level.quality, 3.0, 60.0) for level in PROFILE.levels])
    settings = SimulationSettings(deadline_s=SLO_S, seconds=1, noise=0)
    outcomes = simulate(PROFILE, "static:level0", poisson(20, 1, rng), settings, actual=slower)
    assert min(outcome.ran_s for outcome in outcomes) == pytest.approx(0.003)
