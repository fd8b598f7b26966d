"""Policies by name, and what tells each of them from the others."""

from __future__ import annotations

import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, SLO_S, level, request, scheduler_of

from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.policies.baselines import Aimd, Thresholds
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError


@pytest.mark.parametrize("name", ["elastic", "thresholds", "slackfit", "static:w0.5-d3", "aimd:level0"])
def test_a_policy_is_called_what_it_is_spelled(name):
    assert make_policy(name, PROFILE, slo_s=SLO_S).name == name


@pytest.mark.parametrize("name", ["", "static", "static:", "elastic:w1-d6", "Elastic", "aimd"])
def test_unknown_policies_are_refused(name):
    with pytest.raises(QueryError, match=r"expected one of: elastic, thresholds"):
        make_policy(name, PROFILE, slo_s=SLO_S)


def test_an_unknown_level_is_refused():
    with pytest.raises(QueryError, match="got level 'w9'"):
        make_policy("static:w9", PROFILE, slo_s=SLO_S)


def first_batch(policy, waiting, profile=PROFILE, within_s=SLO_S):
    scheduler = scheduler_of(policy, profile)
    for number in range(waiting):
        scheduler.add(request(number, within_s=within_s))
    return scheduler.schedule(0.0)


def test_static_keeps_its_level_also_one_that_the_ladder_lacks():
    profile = Profile(levels=[level("good", 1, 1, 20), level("beaten", 0.9, 2, 40)])
    assert [first_batch("static:beaten", n, profile).level for n in (1, 5)] == ["beaten", "beaten"]


def test_thresholds_count_what_waits_and_what_runs():
    policy = Thresholds(PROFILE, slo_s=SLO_S, at_most=[1, 2, 3, 4, 99])
    scheduler = scheduler_of(workers=2)
    scheduler.policy = policy
    seen = []
    for number in range(3):
        scheduler.add(request(number))
        scheduler.add(request(10 + number))
        batch = scheduler.schedule(0.0)
        seen.append(batch.level if batch else None)
    assert seen == ["w1-d3", "w0.25-d2", None]


def test_slackfit_fills_the_slack():
    assert first_batch("slackfit", 1).level == "w1-d6"
    batch = first_batch("slackfit", 8)
    assert batch.level == "w1-d6" and len(batch.jobs) == 8  # 14 ms
    late = first_batch("slackfit", 8, within_s=0.008)
    assert late.level == "w0.5-d3" and len(late.jobs) == 8  # 5.1 ms of 5.5


def test_aimd_grows_by_one_and_falls_by_a_tenth():
    policy = Aimd(PROFILE, "w0.5-d3", slo_s=SLO_S)
    for _ in range(9):
        policy.observe(int(policy._limit), 0.001)
    assert policy._limit == 10
    policy.observe(3, 0.001)  # a batch that was not full says nothing
    assert policy._limit == 10
    policy.observe(10, 0.02)
    assert policy._limit == pytest.approx(9)


@pytest.mark.parametrize("waiting", [3, 10, 20])
def test_elastic_leaves_room_for_what_keeps_coming_near_the_smallest_levels_capacity_and_only_there(waiting):
    def place_at(share):
        scheduler = scheduler_of()
        # So many came and went in the last tenth of a second.
        for number in range(int(share * CAPACITY_PER_S / 10) - waiting):
            scheduler._rate.count(0.95 + number * 1e-6)
        for number in range(waiting):
            scheduler.add(request(number, 1.0))
        return PROFILE.place(scheduler.schedule(1.0).level)

    places = [place_at(share) for share in (0, 0.2, 0.5, 0.8, 0.9, 0.97, 1.1)]
    assert places == sorted(places)
    assert places[0] == places[2] < places[-1] == len(PROFILE.levels) - 1


def test_elastic_in_a_hurry_spends_the_reserve_on_an_efficient_batch():
    scheduler = scheduler_of()
    for number in range(90):
        scheduler.add(request(number))
    now_s = SLO_S - scheduler.settings.reserve - 0.0005  # without the reserve there is time for two at the most
    batch = scheduler.schedule(now_s)
    assert batch.level == "level0" and len(batch.jobs) == PROFILE.levels[-1].enough(SLO_S / 2) == 9
    assert batch.due_s <= SLO_S and not scheduler.take_shed()
