"""Scheduler: invariants under random arrivals, and each rule by itself."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace

import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, SLO_S, request, scheduler_of
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.errors import QueryError

POLICIES = ["elastic", "thresholds", "slackfit", "static:w0.5-d3", "aimd:w0.25-d2"]
MINIMUM_LEVELS = [None, None, "w1-d6", "w0.5-d3"]
NAMES = [level.name for level in PROFILE.levels]

arrivals = st.lists(
    st.tuples(
        st.floats(0, 0.01),  # after the one before
        st.sampled_from([0.0005, 0.004, SLO_S, SLO_S, SLO_S, 0.2, math.inf]),
        st.sampled_from(MINIMUM_LEVELS),
        st.sampled_from([0.0, 0.0, 0.9, 0.96, 1.0]),  # minimum quality
        st.integers(0, 2),  # priority
        st.integers(0, 12),  # query: some are asked more than once
        st.integers(1, 30),  # so many at once
    ),
    max_size=25,
)


class Run:
    """Drives a scheduler through arrivals under a virtual clock, and checks each step."""

    def __init__(self, scheduler, slowness):
        self.scheduler, self.slowness = scheduler, slowness
        self.ends, self.number = {}, 0
        self.events = []

    def record(self, outcome):
        assert outcome.request.id not in self.ends, "answered twice"
        self.ends[outcome.request.id] = outcome
        if outcome.status is Status.SHED and outcome.request.priority >= 2:
            # It would be late, alone and at the fastest level that it accepts; or all requests have its priority.
            fastest_index = min(
                self.scheduler.policy.fastest_level_index, self.scheduler._max_level_index(outcome.request)
            )
            alone_s = self.scheduler.correction_ratio * PROFILE.levels[fastest_index].latency_s[1]
            is_late = outcome.end_s + alone_s > outcome.request.deadline_s
            assert is_late or all(job.priority >= 2 for job in self.scheduler._queue.jobs)

    def add(self, added):
        try:
            self.scheduler.add(added)
        except OverloadedError as error:
            assert error.retry_after_s > 0
            self.ends[added.id] = None

    def work(self, now_s):
        while (batch := self.scheduler.schedule(now_s)) is not None:
            self.check(batch, now_s)
            size = len(batch.jobs)
            run_s = self.slowness * PROFILE.levels[batch.level_index].latency_s[size]
            self.number += 1
            heapq.heappush(self.events, (now_s + run_s, self.number, batch))
        for outcome in self.scheduler.take_shed():
            self.record(outcome)

    def check(self, batch, now_s):
        deadlines_s = [job.deadline_s for job in batch.jobs]
        assert deadlines_s == sorted(deadlines_s)
        waiting_s = self.scheduler._queue.deadlines_s
        assert not waiting_s or deadlines_s[-1] <= waiting_s[0], "a job was passed over"
        for scheduled in batch.requests():
            assert (
                scheduled.minimum_level is None
                or PROFILE.levels[batch.level_index].quality
                >= PROFILE.levels[PROFILE.level_index(scheduled.minimum_level)].quality
            )
            assert PROFILE.levels[batch.level_index].quality >= scheduled.minimum_quality
        if not self.scheduler.policy.name.startswith("aimd"):
            assert now_s + batch.expected_s <= deadlines_s[0] + 1e-12 or len(batch.jobs) == 1

    def advance_to(self, now_s):
        """Finish the batches that end by then, and schedule the next ones."""
        while self.events and self.events[0][0] <= now_s:
            end_s, _, batch = heapq.heappop(self.events)
            self.scheduler.finish(batch, end_s - batch.started_s)
            for outcome in batch.outcomes(end_s):
                self.record(outcome)
                assert (outcome.status is Status.LATE) == (end_s > outcome.request.deadline_s)
                assert outcome.queued_s >= 0
                assert outcome.level == batch.level
            self.work(end_s)


@settings(max_examples=120, deadline=None)
@given(arrivals, st.sampled_from(POLICIES), st.integers(1, 3), st.sampled_from([0.7, 1.0, 3.0]))
def test_no_request_is_lost_or_answered_twice_and_order_and_minimum_levels_hold(plan, policy, workers, slowness):
    run = Run(scheduler_of(policy, workers=workers, max_unfinished=60), slowness)
    now_s, n = 0.0, 0
    for gap_s, timeout_s, minimum_level, minimum_quality, priority, query, times in plan:
        now_s += gap_s
        run.advance_to(now_s)
        for copy in range(times):
            text = f"{query}-{copy // 2}"
            minimum = {"minimum_level": minimum_level, "minimum_quality": minimum_quality}
            run.add(request(n, now_s, timeout_s, priority=priority, query=text, **minimum))
            n += 1
            assert run.scheduler.n_unfinished <= 60
        run.work(now_s)
    run.advance_to(math.inf)
    assert len(run.ends) == n
    assert run.scheduler.n_unfinished == run.scheduler.n_waiting == run.scheduler.n_running == 0
    assert not run.scheduler._in_flight and not run.scheduler._queue.n_restricted
    # It recovers: a request that comes alone afterwards, with enough time, is served at the best level at once.
    if policy == "elastic" and run.scheduler.correction_ratio < 2:
        run.scheduler.add(request(n, now_s + 10))
        assert run.scheduler.schedule(now_s + 10).level == "w1-d6"


def test_a_request_alone_gets_the_best_level():
    scheduler = scheduler_of()
    scheduler.add(request(1))
    batch = scheduler.schedule(0.0)
    assert (batch.level, len(batch.jobs), batch.expected_s) == ("w1-d6", 1, 0.002)
    assert scheduler.schedule(0.0) is None


def test_the_level_falls_with_the_queue_and_no_further_than_needed():
    levels = []
    for waiting in (1, 8, 16, 28, 75):
        scheduler = scheduler_of()
        for number in range(waiting):
            scheduler.add(request(number))
        levels.append(NAMES.index(scheduler.schedule(0.0).level))
    assert levels == sorted(levels)
    assert levels[0] == 0 and levels[-1] == len(NAMES) - 1 and len(set(levels)) >= 4


def test_earliest_deadline_first():
    scheduler = scheduler_of(workers=9)
    for number, timeout_s in enumerate((0.02, 0.01, 0.03, 0.01)):
        scheduler.add(request(number, timeout_s=timeout_s))
    order = [scheduled.id for _ in range(4) for scheduled in scheduler.schedule(0.0).requests()]
    assert order == [1, 3, 0, 2]


def test_idle_workers_share_the_queue():
    scheduler = scheduler_of(workers=2)
    for number in range(4):
        scheduler.add(request(number))
    assert [len(scheduler.schedule(0.0).jobs) for _ in range(2)] == [2, 2]


def test_a_minimum_level_holds_under_load():
    scheduler = scheduler_of()
    scheduler.add(request(0, timeout_s=0.02, minimum_level="w0.5-d3"))
    for number in range(1, 60):
        scheduler.add(request(number))
    batch = scheduler.schedule(0.0)
    assert (batch.level, len(batch.jobs)) == ("w0.5-d3", 1)
    scheduler.finish(batch, 0.001)
    assert scheduler.schedule(0.001).level == "level0"


BY_LENGTH = Profile(
    levels=[
        replace(level, quality_by_tokens={} if number == 0 else {8: level.quality, 64: level.quality - 0.1})
        for number, level in enumerate(PROFILE.levels)
    ]
)


@pytest.mark.parametrize(
    ("minimum_quality", "n_tokens", "level"),
    [
        (0.95, 8, "w0.5-d3"),
        (0.95, 9, "w1-d6"),
        (0.85, 9, "w0.5-d3"),
        (0.86, 9, "w1-d3"),
        (0.9, None, "w0.25-d2"),
        (0.7, 9, "level0"),
        (0.0, 9, "level0"),
    ],
)
def test_a_minimum_quality_holds_for_the_length_of_the_query(minimum_quality, n_tokens, level):
    scheduler = scheduler_of("static:level0", BY_LENGTH)
    scheduler.add(request(0, timeout_s=0.02, minimum_quality=minimum_quality, n_tokens=n_tokens))
    for number in range(1, 6):
        scheduler.add(request(number))
    batch = scheduler.schedule(0.0)
    assert (batch.level, len(batch.jobs)) == (level, 6 if level == "level0" else 1)


def test_the_stricter_of_two_minimums_counts():
    for minimum_level, minimum_quality, expected in (("w1-d3", 0.9, "w1-d3"), ("w0.25-d2", 0.97, "w1-d3")):
        scheduler = scheduler_of("static:level0")
        scheduler.add(request(0, minimum_level=minimum_level, minimum_quality=minimum_quality))
        assert scheduler.schedule(0.0).level == expected


def test_the_best_level_serves_where_none_has_the_minimum_quality():
    profile = Profile(levels=PROFILE.levels[1:])
    scheduler = scheduler_of("static:level0", profile)
    scheduler.add(request(0, minimum_quality=0.99))
    assert scheduler.schedule(0.0).level == "w1-d3"
    with pytest.raises(OverloadedError, match="even at w1-d3"):
        scheduler.add(request(1, timeout_s=0.0005, minimum_quality=0.99))


def test_a_minimum_quality_that_every_level_has_restricts_nothing():
    scheduler = scheduler_of()
    scheduler.add(request(0, minimum_quality=0.82))
    assert not scheduler._queue.n_restricted


def test_an_unknown_minimum_level_is_refused():
    with pytest.raises(QueryError, match="got level 'w7-d7'"):
        scheduler_of().add(request(0, minimum_level="w7-d7"))


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


def test_a_request_can_be_cancelled_while_it_waits():
    scheduler = scheduler_of()
    waiting, joined, running = request(0, query="a"), request(1, query="a"), request(2)
    scheduler.add(running)
    scheduler.schedule(0.0)
    scheduler.add(waiting)
    scheduler.add(joined)
    assert not scheduler.cancel(running)
    assert scheduler.cancel(waiting) and scheduler.n_waiting == 1
    assert not scheduler.cancel(waiting)
    assert scheduler.cancel(joined) and scheduler.n_waiting == 0
    assert scheduler.n_unfinished == 1


def test_a_failed_batch_makes_room():
    scheduler = scheduler_of()
    scheduler.add(request(0))
    batch = scheduler.schedule(0.0)
    scheduler.fail(batch)
    assert [outcome.status for outcome in batch.failures(0.1)] == [Status.FAILED]
    assert scheduler.n_unfinished == scheduler.n_running == 0


def test_a_slow_machine_is_served_at_a_faster_level():
    scheduler = scheduler_of()
    at_rest, slowed = [], []
    for levels in (at_rest, slowed):
        for number in range(8):
            scheduler.add(request(number, 1.0))
        batch = scheduler.schedule(1.0)
        levels.append(batch.level)
        scheduler.clear(1.0)
        scheduler.finish(batch, batch.expected_s)
        for _ in range(20):
            scheduler._forecast.correction.observe(0.001, 0.003)
    assert NAMES.index(slowed[0]) > NAMES.index(at_rest[0])


@pytest.mark.parametrize("bad", [{"slo_s": 0}, {"slo_s": math.nan}, {"workers": 0}, {"reserve_s": -1}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(QueryError, match="expected"):
        SchedulerSettings(**{"slo_s": SLO_S, **bad})


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
