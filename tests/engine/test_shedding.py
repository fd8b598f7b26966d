"""Load shedding, and rejection without a check."""

from __future__ import annotations

import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, SLO_S, request, scheduler_of

from elasticdenser.engine.errors import OverloadedError

N_TOO_MANY = int(4 * SLO_S * CAPACITY_PER_S)


def fill(*, priorities=(0,), n=N_TOO_MANY, **settings):
    """Return a scheduler to which `n` requests were submitted, and how many of them it admitted."""
    scheduler, n_admitted = scheduler_of("elastic", **settings), 0
    for number in range(n):
        try:
            scheduler.add(request(number, number * 1e-6, priority=priorities[number % len(priorities)]))
            n_admitted += 1
        except OverloadedError:
            pass
    return scheduler, n_admitted


def test_after_a_pause_the_most_urgent_are_shed_and_the_rest_is_in_time():
    scheduler, n_admitted = fill()
    now_s = 0.95 * SLO_S  # no worker ran until now: not all can be in time any more
    batch = scheduler.schedule(now_s)
    shed = scheduler.take_shed()
    assert 0 < len(shed) < n_admitted - 1
    assert max(outcome.request.deadline_s for outcome in shed) <= batch.jobs[0].deadline_s
    end_s = now_s + batch.expected_s
    assert end_s <= batch.jobs[0].deadline_s
    scheduler.finish(batch, batch.expected_s)
    assert scheduler.n_unfinished == scheduler.n_waiting == n_admitted - len(shed) - len(batch.jobs)


def test_nothing_is_shed_while_all_can_be_in_time():
    scheduler, _ = fill(n=30)
    assert scheduler.schedule(0.0) is not None
    assert not scheduler.take_shed()


def test_lower_priorities_are_shed_first():
    scheduler, _ = fill(priorities=(1, 0, 1))
    scheduler.schedule(0.5 * SLO_S)
    shed = scheduler.take_shed()
    assert shed and {outcome.request.priority for outcome in shed} == {0}


def test_a_rejection_is_reused_without_a_check(monkeypatch):
    scheduler, n_admitted = fill()
    checked = []
    monkeypatch.setattr(scheduler._admission, "admit", lambda job, n: checked.append(job))
    for number in range(10):
        with pytest.raises(OverloadedError):
            scheduler.add(request(10_000 + number, N_TOO_MANY * 1e-6))
    assert not checked and scheduler.n_unfinished == n_admitted


def test_requests_that_share_an_answer_or_have_more_time_or_priority_are_checked():
    scheduler, n_admitted = fill()
    now_s = N_TOO_MANY * 1e-6
    scheduler.add(request(10_000, now_s, query=n_admitted // 2))
    scheduler.add(request(10_001, now_s, timeout_s=4 * SLO_S))
    scheduler.add(request(10_002, now_s, priority=1))
    assert len(scheduler.take_shed()) >= 1  # to make room for the last one


def test_a_rejection_is_not_reused_after_a_batch():
    scheduler, _ = fill()
    now_s = N_TOO_MANY * 1e-6
    with pytest.raises(OverloadedError):
        scheduler.add(request(10_000, now_s))
    batch = scheduler.schedule(now_s)
    scheduler.finish(batch, batch.expected_s)  # far sooner than expected
    scheduler.add(request(10_001, now_s + 2e-6))
    assert PROFILE.levels
