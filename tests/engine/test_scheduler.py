"""Scheduler: invariants under random arrivals, and each rule by itself."""

from __future__ import annotations

import heapq
import math
from random import Random

import pytest
from engine_helpers import PROFILE, PROFILE_BY_TOKENS, SLO_S, request, scheduler_of
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.engine.errors import OverloadedError
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
            fastest = self.scheduler.profile.levels[fastest_index]
            # Of a long query, the time at the ratio of its arrival counts.
            extra_s = 8 * fastest.extra_s(outcome.request.n_tokens)
            alone_s = self.scheduler.correction_ratio * fastest.latency_s[1] + extra_s
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
            run_s = self.slowness * (PROFILE.levels[batch.level_index].latency_s[size] + batch.extra_s)
            self.number += 1
            heapq.heappush(self.events, (now_s + run_s, self.number, batch))
        for outcome in self.scheduler.take_shed():
            self.record(outcome)

    def check(self, batch, now_s):
        deadlines_s = [job.queue_deadline_s for job in batch.jobs]
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
            due_s = min(job.deadline_s for job in batch.jobs)
            is_long = any(job.extras_s for job in batch.jobs)
            assert now_s + batch.expected_s <= (due_s if is_long else deadlines_s[0]) + 1e-12 or len(batch.jobs) == 1

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
@given(
    arrivals,
    st.sampled_from(POLICIES),
    st.integers(1, 3),
    st.sampled_from([0.7, 1.0, 3.0]),
    st.sampled_from([PROFILE, PROFILE_BY_TOKENS]),
)
def test_no_request_is_lost_or_answered_twice_and_order_and_minimum_levels_hold(
    plan, policy, workers, slowness, profile
):
    run = Run(scheduler_of(policy, profile, workers=workers, max_unfinished=60), slowness)
    now_s, n = 0.0, 0
    for gap_s, timeout_s, minimum_level, minimum_quality, priority, query, times in plan:
        now_s += gap_s
        run.advance_to(now_s)
        for copy in range(times):
            text = f"{query}-{copy // 2}"
            minimum = {"minimum_level": minimum_level, "minimum_quality": minimum_quality}
            n_tokens = {10: 40, 11: 100, 12: 250}.get(query)
            run.add(request(n, now_s, timeout_s, priority=priority, query=text, n_tokens=n_tokens, **minimum))
            n += 1
            assert run.scheduler.n_unfinished <= 60
        run.work(now_s)
    run.advance_to(math.inf)
    assert len(run.ends) == n
    assert run.scheduler.n_unfinished == run.scheduler.n_waiting == run.scheduler.n_running == 0
    queue = run.scheduler._queue
    assert not run.scheduler._in_flight and not queue.n_restricted
    assert not queue.n_long and not queue.least_extras_s
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


def levels_on_a_noisy_machine(timeout_s: float) -> set[str]:
    """Return the levels that answer one query now and then on an idle machine, whose run times scatter widely."""
    scheduler, levels, random = scheduler_of(), set(), Random(0)
    for number in range(200):
        now_s = 2.0 * number
        scheduler.add(request(number, now_s, timeout_s))
        batch = scheduler.schedule(now_s)
        levels.add(batch.level)
        scheduler.finish(batch, batch.expected_s / scheduler.correction_ratio * (1 + random.expovariate(0.5)))
    return levels


def test_a_lax_deadline_gets_the_best_level_from_an_idle_engine_every_time():
    assert len(levels_on_a_noisy_machine(SLO_S)) > 1
    assert levels_on_a_noisy_machine(0.5) == {"w1-d6"}
