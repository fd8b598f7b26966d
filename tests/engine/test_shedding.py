"""What is shed when there is too much, and what is refused at a glance."""

from __future__ import annotations

import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, SLO_S, request, scheduler_of

from elasticdenser.engine.errors import OverloadedError

N_TOO_MANY = int(4 * SLO_S * CAPACITY_PER_S)


def filled(*, priorities=(0,), n=N_TOO_MANY, **settings):
    """Return a scheduler into which requests were put until it refused one, and how many it took."""
    scheduler, taken = scheduler_of("elastic", **settings), 0
    for number in range(n):
        try:
            scheduler.add(request(number, number * 1e-6, priority=priorities[number % len(priorities)]))
            taken += 1
        except OverloadedError:
            pass
    return scheduler, taken


def test_after_a_pause_the_most_urgent_go_and_the_rest_is_in_time():
    scheduler, taken = filled()
    now_s = 0.95 * SLO_S  # nobody worked until now: not all can be in time any more
    batch = scheduler.schedule(now_s)
    shed = scheduler.take_shed()
    assert 0 < len(shed) < taken - 1
    assert max(one.request.deadline_s for one in shed) <= batch.jobs[0].deadline_s
    end_s = now_s + batch.expected_s
    assert end_s <= batch.jobs[0].deadline_s
    scheduler.finished(batch, batch.expected_s)
    assert scheduler.n_unfinished == scheduler.n_waiting == taken - len(shed) - len(batch.jobs)


def test_nobody_is_shed_while_all_can_be_in_time():
    scheduler, _ = filled(n=30)
    assert scheduler.schedule(0.0) is not None
    assert not scheduler.take_shed()


def test_those_of_lower_priority_go_first():
    scheduler, _ = filled(priorities=(1, 0, 1))
    scheduler.schedule(0.5 * SLO_S)
    shed = scheduler.take_shed()
    assert shed and {one.request.priority for one in shed} == {0}


def test_what_was_found_hopeless_is_refused_at_a_glance(monkeypatch):
    scheduler, taken = filled()
    tried = []
    monkeypatch.setattr(scheduler, "_admit", lambda job, now_s: tried.append(job) and False)
    for number in range(10):
        with pytest.raises(OverloadedError):
            scheduler.add(request(10_000 + number, N_TOO_MANY * 1e-6))
    assert not tried and scheduler.n_unfinished == taken


def test_a_glance_spares_those_who_share_an_answer_or_have_more_time_or_priority():
    scheduler, taken = filled()
    now_s = N_TOO_MANY * 1e-6
    scheduler.add(request(10_000, now_s, query=taken // 2))
    scheduler.add(request(10_001, now_s, within_s=4 * SLO_S))
    scheduler.add(request(10_002, now_s, priority=1))
    assert len(scheduler.take_shed()) >= 1  # who made room for the last one


def test_a_glance_holds_no_longer_than_the_queue_stays_as_it_is():
    scheduler, _ = filled()
    now_s = N_TOO_MANY * 1e-6
    with pytest.raises(OverloadedError):
        scheduler.add(request(10_000, now_s))
    batch = scheduler.schedule(now_s)
    scheduler.finished(batch, batch.expected_s)  # far sooner than expected
    scheduler.add(request(10_001, now_s + 2e-6))
    assert PROFILE.levels
