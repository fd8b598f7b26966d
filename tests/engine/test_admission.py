"""Admission control: which requests are rejected on arrival, and which make room for others."""

from __future__ import annotations

import math

import pytest
from engine_helpers import CAPACITY_PER_S, request, scheduler_of

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.request import Status


def test_requests_that_cannot_be_in_time_are_rejected_on_arrival():
    scheduler = scheduler_of()
    with pytest.raises(OverloadedError, match=r"due in 0 ms while 0 are in the engine.*even at level0"):
        scheduler.add(request(0, timeout_s=0.0001))
    admitted = 0
    with pytest.raises(OverloadedError) as refused:
        for number in range(1, 1000):
            scheduler.add(request(number))
            admitted += 1
    assert 50 < admitted < 0.025 / 0.000203
    assert 0 < refused.value.retry_after_s < 1
    scheduler.add(request(2000, timeout_s=1.0))  # a later deadline can still be met


def test_a_full_engine_rejects():
    scheduler = scheduler_of(max_unfinished=3)
    for number in range(3):
        scheduler.add(request(number, timeout_s=math.inf))
    with pytest.raises(OverloadedError, match="while 3 are in the engine"):
        scheduler.add(request(3, timeout_s=math.inf))


def test_a_higher_priority_takes_the_place_of_a_lower_one():
    scheduler = scheduler_of(max_unfinished=2)
    scheduler.add(request(0, priority=1))
    scheduler.add(request(1, priority=0))
    scheduler.add(request(2, priority=1))
    (shed,) = scheduler.take_shed()
    assert (shed.request.id, shed.status) == (1, Status.SHED)
    with pytest.raises(OverloadedError):
        scheduler.add(request(3, priority=1))
    assert scheduler.n_unfinished == 2


def test_only_requests_that_would_be_late_are_shed():
    scheduler = scheduler_of()
    scheduler.add(request(0, timeout_s=0.005))
    scheduler.add(request(1, timeout_s=0.02))
    scheduler.expire(0.004)
    assert scheduler.take_shed() == []
    batch = scheduler.schedule(0.0049)
    assert [scheduled.id for scheduled in batch.requests()] == [1]
    assert [outcome.request.id for outcome in scheduler.take_shed()] == [0]


@pytest.mark.parametrize("workers", [1, 4, 8])
@pytest.mark.parametrize("slo_s", [0.025, 0.1])
def test_requests_that_cannot_be_in_time_are_rejected_with_any_number_of_workers(workers, slo_s):
    scheduler = scheduler_of(workers=workers, slo_s=slo_s, max_unfinished=1 << 16)
    taken = 0
    for number in range(int(2 * workers * CAPACITY_PER_S * slo_s)):
        try:
            scheduler.add(request(number, timeout_s=slo_s))
            taken += 1
        except OverloadedError:
            pass
    assert 0.5 * workers * CAPACITY_PER_S * slo_s < taken < 1.1 * workers * CAPACITY_PER_S * slo_s


def test_several_of_lower_priority_make_room_for_a_request_that_costs_more():
    scheduler = scheduler_of()
    number = 0
    while True:
        try:
            scheduler.add(request(number))
        except OverloadedError:
            break
        number += 1
    before = scheduler.n_unfinished
    scheduler.add(request(10_000, priority=1, minimum_level="w1-d3"))
    shed = scheduler.take_shed()
    assert 1 < len(shed) <= 8 and {outcome.request.priority for outcome in shed} == {0}
    assert scheduler.n_unfinished == before - len(shed) + 1


def test_nothing_is_displaced_in_vain():
    scheduler = scheduler_of()
    for number in range(60):
        scheduler.add(request(number))
    with pytest.raises(OverloadedError):
        scheduler.add(request(10_000, timeout_s=1e-5, priority=1))
    assert (scheduler.n_waiting, scheduler.n_unfinished, scheduler.take_shed()) == (60, 60, [])
    batch = scheduler.schedule(0.0)
    assert [scheduled.id for scheduled in batch.requests()] == list(range(len(batch.jobs)))


def test_the_minimum_priority_is_that_of_the_waiting_jobs():
    scheduler = scheduler_of()
    scheduler.add(request(0, priority=-3))
    scheduler.add(request(1, priority=2))
    assert scheduler._queue.min_priority == -3
    scheduler._queue.take(1)
    assert scheduler._queue.min_priority == 2
    scheduler._queue.take(1)
    assert scheduler._queue.min_priority > 1_000_000


def test_a_rejection_is_not_reused_by_an_idle_engine():
    scheduler = scheduler_of(slo_s=2.0)
    with pytest.raises(OverloadedError):
        scheduler.add(request(0, timeout_s=1e-4))
    assert not scheduler.would_reject(0.0, 0.02)
    scheduler.add(request(1, timeout_s=0.02))
    assert scheduler.schedule(0.0) is not None


def test_a_rejection_names_the_limit_or_the_level():
    scheduler = scheduler_of(max_unfinished=1)
    scheduler.add(request(0))
    with pytest.raises(OverloadedError, match="which takes no more"):
        scheduler.add(request(1))
    with pytest.raises(OverloadedError, match="even at w1-d3"):
        scheduler_of().add(request(2, timeout_s=1e-5, minimum_level="w1-d3"))


def test_a_rejection_is_not_reused_while_a_worker_is_idle():
    scheduler = scheduler_of(slo_s=2.0, workers=2)
    scheduler.add(request(0))
    assert scheduler.schedule(0.0) is not None
    with pytest.raises(OverloadedError):
        scheduler.add(request(1, timeout_s=1e-4))
    scheduler.add(request(2, timeout_s=0.02))
