"""Policies by name, and what tells each of them from the others."""

from __future__ import annotations

import pytest
from engine_helpers import PROFILE, SLO_S, level, request, scheduler_of

from elasticdenser.engine.baselines import Aimd, Thresholds
from elasticdenser.engine.elastic import Elastic
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profile import Profile
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


def test_elastic_leaves_room_for_what_comes_while_a_batch_runs():
    def level_at(rate_per_s):
        scheduler = scheduler_of()
        scheduler.policy = Elastic(PROFILE, filled=0.2)
        # So many came and went in the last tenth of a second; ten wait.
        for number in range(int(rate_per_s / 10)):
            scheduler._rate.count(0.95 + number * 1e-6)
        for number in range(10):
            scheduler.add(request(number, 1.0))
        return PROFILE.place(scheduler.schedule(1.0).level)

    assert level_at(0) <= level_at(2000) < level_at(4900)
