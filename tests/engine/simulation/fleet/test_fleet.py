"""Simulated fleets: routers, shards, replicas, and what hedging and partial answers do."""

from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import poisson
from elasticdenser.engine.simulation.fleet.settings import FleetSettings
from elasticdenser.engine.simulation.fleet.simulator import simulate_fleet
from elasticdenser.engine.simulation.fleet.times import FleetTimes
from elasticdenser.engine.simulation.summary import summarise
from elasticdenser.errors import BadInputError, QueryError

PROFILE = Profile(
    levels=[
        Level(name="w1-d6", quality=1.0, measured_s={1: 0.003, 16: 0.030}),
        Level(name="level0", quality=0.9, recall=0.9, measured_s={1: 0.0006, 16: 0.005}),
    ]
)
TIMES = FleetTimes.split(PROFILE, {None: {1: 0.001, 16: 0.012}, 0.9: {1: 0.0002, 16: 0.002}})


def simulate(policy="elastic", rate=100, seconds=4.0, **settings):
    arrivals = poisson(rate, seconds, np.random.default_rng(3))
    fleet = FleetSettings(**{"deadline_s": 0.05, "shards": 3, "replicas": 2, **settings})
    run = simulate_fleet(TIMES, policy, arrivals, fleet)
    assert sorted(outcome.request.id for outcome in run.outcomes) == list(range(len(arrivals)))
    return run


def test_a_query_alone_takes_an_encoding_a_search_and_both_ways():
    run = simulate(rate=2, noise=0, network_s=0, routers=1)
    assert {round(outcome.latency_s, 9) for outcome in run.outcomes} == {0.003}
    assert run.n_searches == 3 * len(run.outcomes) and run.whole_in_time == 1


def test_the_parts_of_a_level_add_up_and_larger_shards_take_longer():
    parts = [(e.latency_s[16], s.latency_s[16]) for e, s in zip(*_levels(TIMES), strict=True)]
    assert [sum(part) for part in parts] == pytest.approx([0.030, 0.005])
    larger = FleetTimes.split(PROFILE, {None: {1: 0.001, 16: 0.012}, 0.9: {1: 0.0002, 16: 0.002}}, scale=10)
    assert [s.latency_s[16] for s in larger.search.levels] == pytest.approx([0.12, 0.02])
    assert [e.latency_s[16] for e in larger.encoding.levels] == [e.latency_s[16] for e in TIMES.encoding.levels]


def _levels(times):
    return times.encoding.levels, times.search.levels


def test_a_missing_search_time_is_named():
    with pytest.raises(BadInputError, match=r"level level0: there is no search time for recall 0\.9"):
        FleetTimes.split(PROFILE, {None: {1: 0.001}})


def test_a_router_expects_what_the_busiest_part_takes():
    one, busy = (TIMES.expected(FleetSettings(deadline_s=1, in_flight=4, routers=r)) for r in (1, 8))
    assert one.levels[0].latency_s[16] == pytest.approx(4 * 0.018)  # the encoder
    assert busy.levels[0].latency_s[16] == pytest.approx(4 * 8 * 0.012)  # the only replica, which eight routers share


@pytest.mark.slow
def test_elastic_routers_answer_in_time_where_the_best_level_cannot():
    load = {"rate": 1300, "replicas": 1, "seconds": 2.0}
    elastic, static = simulate("elastic", **load), simulate("static:w1-d6", **load)
    assert elastic.whole_in_time > 0.99 > 0.8 > static.whole_in_time
    assert summarise("elastic", elastic.outcomes, PROFILE).retention > 0.9


@pytest.mark.slow
def test_hedging_makes_up_for_stalls():
    stalls = {"stall_every_s": 0.1, "stall_s": 0.1, "rate": 150, "replicas": 3, "routers": 2}
    plain, hedged = simulate(**stalls), simulate(hedge_percentile=95, **stalls)
    assert hedged.whole_in_time > plain.whole_in_time + 0.02
    assert plain.n_hedged == 0 < hedged.n_hedged < 0.3 * hedged.n_searches


@pytest.mark.slow
def test_partial_answers_are_in_time_and_say_their_coverage():
    run = simulate(stall_every_s=0.1, stall_s=0.1, rate=150, replicas=1, routers=2, partial=True)
    statuses = {outcome.request.id: outcome.status for outcome in run.outcomes}
    assert run.coverage and set(run.coverage.values()) <= {1 / 3, 2 / 3}
    in_time = sum(status is Status.IN_TIME for status in statuses.values()) / len(statuses)
    assert in_time > run.whole_in_time + 0.02
    assert all(statuses[number] in (Status.IN_TIME, Status.LATE) for number in run.coverage)


def test_machines_are_routers_and_replicas_of_each_shard():
    assert FleetSettings(deadline_s=1, routers=3, shards=4, replicas=2).n_machines == 11


@pytest.mark.parametrize(
    "settings", [{"routers": 0}, {"network_s": -1}, {"noise": 3}, {"stall_every_s": 0}, {"hedge_percentile": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(QueryError, match="expected"):
        simulate(**settings)
