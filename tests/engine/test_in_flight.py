"""Requests for the same query that is in flight: they share one search."""

from __future__ import annotations

from engine_helpers import request, scheduler_of


def test_equal_queries_in_flight_are_computed_once():
    scheduler = scheduler_of()
    for number in range(3):
        scheduler.add(request(number, query="same"))
    scheduler.add(request(3, query="same", minimum_level="w1-d6"))  # a different minimum level
    batch = scheduler.schedule(0.0)
    assert sorted(scheduled.id for job in batch.jobs for scheduled in job.requests) in ([0, 1, 2], [0, 1, 2, 3])
    scheduler.add(request(4, 0.0005, query="same"))  # joins what runs
    assert scheduler.n_waiting == 2 - len(batch.jobs)
    scheduler.finish(batch, 0.002)
    outcomes = {outcome.request.id: outcome for outcome in batch.outcomes(0.002)}
    assert outcomes[4].queued_s == 0
    scheduler.add(request(5, 0.002, query="same"))  # too late to join
    assert scheduler.n_waiting == 3 - len(batch.jobs)


def test_no_request_joins_what_runs_in_an_index_that_was_switched():
    scheduler = scheduler_of(workers=2)
    scheduler.add(request(0, query="same"))
    scheduler.schedule(0.0)
    scheduler.add(request(1, query="waits"))
    scheduler.forget_running()
    for number, query in ((2, "same"), (3, "waits")):
        scheduler.add(request(number, query=query))
    assert scheduler.n_waiting == 2  # "waits" has not begun: it will be answered in the new index


def test_equal_queries_join_if_their_minimum_qualities_are_equal():
    scheduler = scheduler_of()
    for number, minimum_quality in enumerate((0.0, 0.9, 0.9, 0.95)):
        scheduler.add(request(number, query="same", minimum_quality=minimum_quality))
    assert scheduler.n_waiting == 3


def test_a_request_that_cannot_wait_for_a_running_batch_does_not_join_it():
    scheduler = scheduler_of(workers=2)
    scheduler.add(request(0, query="same"))
    running = scheduler.schedule(0.0)
    scheduler.add(request(1, 0.0, 0.0015, query="same"))
    assert [scheduled.id for scheduled in running.requests()] == [0]
    assert [scheduled.id for scheduled in scheduler.schedule(0.0).requests()] == [1]


def test_a_request_that_joined_outlives_the_first_one():
    scheduler = scheduler_of()
    scheduler.add(request(0, 0.0, 0.005, query="same"))
    scheduler.add(request(1, 0.001, 0.02, query="same"))
    batch = scheduler.schedule(0.0049)
    assert [scheduled.id for scheduled in batch.requests()] == [1]
    assert [outcome.request.id for outcome in scheduler.take_shed()] == [0]


def test_a_request_that_is_due_earlier_moves_an_equal_query_forward():
    scheduler = scheduler_of()
    scheduler.add(request(0, timeout_s=0.02))
    scheduler.add(request(1, timeout_s=0.024, query="same"))
    scheduler.add(request(2, timeout_s=0.01, query="same"))
    assert scheduler.n_waiting == 2
    batch = scheduler.schedule(0.0)
    assert [scheduled.id for scheduled in batch.requests()][:2] == [2, 1]


def test_both_of_two_equal_queries_can_be_cancelled():
    scheduler = scheduler_of()
    slow = request(0, timeout_s=0.5, query="same")
    scheduler.add(slow)
    quick = request(1, timeout_s=0.01, query="same")
    scheduler.add(quick)
    assert scheduler.cancel(slow) and scheduler.cancel(quick)
    assert (scheduler.n_waiting, scheduler.n_unfinished) == (0, 0)
