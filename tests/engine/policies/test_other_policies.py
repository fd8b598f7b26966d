"""Policies for comparison: static, thresholds, SlackFit, AIMD."""

from __future__ import annotations

import pytest
from engine_helpers import PROFILE, SLO_S, level, request, scheduler_of

from elasticdenser.engine.policies.aimd import Aimd
from elasticdenser.engine.policies.thresholds import Thresholds
from elasticdenser.engine.profiling.profile import Profile


def first_batch(policy, n_waiting, profile=PROFILE, timeout_s=SLO_S):
    scheduler = scheduler_of(policy, profile)
    for number in range(n_waiting):
        scheduler.add(request(number, timeout_s=timeout_s))
    return scheduler.schedule(0.0)


def test_static_keeps_its_level_also_one_off_the_pareto_front():
    profile = Profile(levels=[level("good", 1, 1, 20), level("beaten", 0.9, 2, 40)])
    assert [first_batch("static:beaten", n, profile).level for n in (1, 5)] == ["beaten", "beaten"]


def test_thresholds_count_waiting_jobs_and_busy_workers():
    policy = Thresholds(PROFILE, slo_s=SLO_S, max_concurrency=[1, 2, 3, 4, 99])
    scheduler = scheduler_of(policy, workers=2)
    levels = []
    for number in range(3):
        scheduler.add(request(number))
        scheduler.add(request(10 + number))
        batch = scheduler.schedule(0.0)
        levels.append(batch.level if batch else None)
    assert levels == ["w1-d3", "w0.25-d2", None]


def test_slackfit_fills_the_slack():
    assert first_batch("slackfit", 1).level == "w1-d6"
    batch = first_batch("slackfit", 8)
    assert batch.level == "w1-d6" and len(batch.jobs) == 8  # 14 ms
    late = first_batch("slackfit", 8, timeout_s=0.008)
    assert late.level == "w0.5-d3" and len(late.jobs) == 8  # 5.1 ms of 5.5


def test_aimd_grows_by_one_and_falls_by_a_tenth():
    policy = Aimd(PROFILE, "w0.5-d3", slo_s=SLO_S)
    for _ in range(9):
        policy.observe(int(policy._max_batch_size), 0.001)
    assert policy._max_batch_size == 10
    policy.observe(3, 0.001)  # a batch that is not full proves nothing
    assert policy._max_batch_size == 10
    policy.observe(10, 0.02)
    assert policy._max_batch_size == pytest.approx(9)
