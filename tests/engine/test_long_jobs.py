"""Long queries: their run times are foreseen, and they do not harm the usual ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine_helpers import CAPACITY_PER_S, PROFILE, PROFILE_BY_TOKENS, SLO_S, request, scheduler_of

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import bursts, poisson
from elasticdenser.engine.simulation.settings import SimulationSettings
from elasticdenser.engine.simulation.simulator import simulate

POLICIES = ["elastic", "thresholds", "slackfit", "static:w0.5-d3", "aimd:w0.25-d2"]


def long_scheduler(policy="elastic", **settings):
    return scheduler_of(policy, PROFILE_BY_TOKENS, **settings)


def finish_as_expected(scheduler, batch):
    scheduler.finish(batch, batch.expected_s)
    return batch.due_s


def test_a_long_query_that_cannot_be_in_time_is_rejected_and_teaches_nothing_wrong():
    scheduler = long_scheduler()
    with pytest.raises(OverloadedError, match=r"a request of 215 tokens due in 5 ms while 0 are.* even at w1-d6"):
        scheduler.add(request(0, timeout_s=0.005, minimum_quality=1.0, n_tokens=215))
    scheduler.add(request(1, timeout_s=0.03, minimum_quality=1.0, n_tokens=215))
    batch = scheduler.schedule(0.0)
    assert (batch.level, batch.expected_s) == ("w1-d6", pytest.approx(0.002 * 215 / 16))
    assert finish_as_expected(scheduler, batch) <= 0.03
    assert scheduler.correction_ratio == 1.0
    scheduler.add(request(2, timeout_s=0.005, now_s=1.0))
    assert scheduler.schedule(1.0).level == "w1-d6"


@pytest.mark.parametrize(("n_tokens", "level"), [(32, "w1-d6"), (100, "w1-d6"), (200, "w1-d3"), (256, "w1-d3")])
@pytest.mark.parametrize("policy", ["elastic", "thresholds", "slackfit"])
def test_a_long_query_alone_is_served_at_the_best_level_that_is_in_time(policy, n_tokens, level):
    scheduler = long_scheduler(policy)
    scheduler.add(request(0, n_tokens=n_tokens))
    batch = scheduler.schedule(0.0)
    assert batch.level == level and batch.due_s <= SLO_S
    index = PROFILE.level_index(level)
    assert batch.expected_s == PROFILE.levels[index].latency_s[1] + PROFILE_BY_TOKENS.levels[index].extra_s(n_tokens)


def test_a_long_query_does_not_lower_the_level_of_those_around_it():
    scheduler = long_scheduler()
    for number, n_tokens in enumerate((None, 200, None)):
        scheduler.add(request(number, timeout_s=SLO_S + number / 1000, n_tokens=n_tokens))
    served, now_s = [], 0.0
    while (batch := scheduler.schedule(now_s)) is not None:
        served.append((batch.level, [scheduled.id for scheduled in batch.requests()]))
        now_s = finish_as_expected(scheduler, batch)
        assert all(outcome.status is Status.IN_TIME for outcome in batch.outcomes(now_s))
    # It takes 25 ms at w1-d6, and even at level0 3 ms more than the others: it comes first.
    assert served == [("w1-d3", [1]), ("w1-d6", [0, 2])]


def test_a_long_query_joins_a_batch_that_is_in_time_with_it():
    scheduler = long_scheduler()
    for number, n_tokens in enumerate((None, 64, None)):
        scheduler.add(request(number, n_tokens=n_tokens))
    batch = scheduler.schedule(0.0)
    assert (batch.level, len(batch.jobs)) == ("w1-d6", 3)
    assert batch.expected_s == pytest.approx(PROFILE.levels[0].latency_s[3] + 0.006)


def test_a_long_query_is_admitted_only_if_those_behind_it_stay_in_time():
    scheduler = long_scheduler("static:w1-d6")
    scheduler.add(request(0, timeout_s=0.02))
    with pytest.raises(OverloadedError):
        scheduler.add(request(1, timeout_s=0.021, n_tokens=200))
    scheduler.add(request(2, timeout_s=0.021, n_tokens=64))


def test_the_rejection_of_a_long_query_is_not_reused_for_others():
    scheduler = long_scheduler(workers=1)
    scheduler.add(request(0))
    scheduler.schedule(0.0)
    with pytest.raises(OverloadedError):
        scheduler.add(request(1, timeout_s=0.005, n_tokens=256))
    assert not scheduler.would_reject(0.0, 0.004)
    scheduler.add(request(2, timeout_s=0.005))


def test_a_long_query_that_waits_is_shed_when_it_can_no_longer_be_in_time():
    scheduler = long_scheduler()
    scheduler.add(request(0, n_tokens=256))
    scheduler.expire(0.0209)  # it takes 4 ms at level0
    assert scheduler.n_waiting == 1
    scheduler.expire(0.0211)
    assert [outcome.request.id for outcome in scheduler.take_shed()] == [0]


def test_equal_long_queries_are_answered_together_and_cancelled():
    scheduler = long_scheduler()
    requests = [
        request(number, timeout_s=timeout_s, query="q", n_tokens=200) for number, timeout_s in enumerate((1, 0.5))
    ]
    for added in requests:
        scheduler.add(added)
    assert scheduler.n_waiting == 1
    assert scheduler.cancel(requests[1]) and scheduler.cancel(requests[0])
    assert scheduler.n_unfinished == scheduler.n_waiting == scheduler._queue.n_long == 0


def test_a_long_query_with_much_time_takes_the_last_worker_only_while_no_others_arrive():
    levels = []
    for n_others, workers in ((0, 1), (5, 1), (5, 2)):
        scheduler = long_scheduler(workers=workers)
        for number in range(n_others):
            scheduler.add(request(number, -0.05))
            finish_as_expected(scheduler, scheduler.schedule(-0.05))
        scheduler.add(request(9, timeout_s=1.0, n_tokens=256))
        levels.append(scheduler.schedule(0.0).level)
    assert levels == ["w1-d6", "w1-d3", "w1-d6"]


def test_a_long_query_without_a_deadline_gets_the_best_level():
    scheduler = long_scheduler()
    scheduler.add(request(0, timeout_s=math.inf, n_tokens=256))
    assert scheduler.schedule(0.0).level == "w1-d6"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("workers", [1, 2])
def test_without_long_queries_the_schedule_is_the_same_to_the_byte(policy, workers):
    rng = np.random.default_rng(5)
    times = bursts(300, 1.2 * CAPACITY_PER_S * workers, 0.5, rng, mean_calm_s=0.2, mean_burst_s=0.1)

    def schedule(profile, n_tokens):
        settings = SimulationSettings(deadline_s=SLO_S, seconds=0.5, workers=workers, n_tokens=n_tokens)
        return [
            (outcome.request.id, outcome.status, outcome.end_s, outcome.level, outcome.batch_size, outcome.queued_s)
            for outcome in simulate(profile, policy, times, settings)
        ]

    expected = repr(schedule(PROFILE, (None,)))
    assert repr(schedule(PROFILE_BY_TOKENS, (None,))) == expected
    assert repr(schedule(PROFILE_BY_TOKENS, (4, 12, None, 32))) == expected  # of usual length
    assert repr(schedule(PROFILE, (4, 200, None))) == expected  # it is not known what length costs


@pytest.mark.parametrize(
    ("n_tokens", "share", "rate_per_s", "workers"), [(200, 0.1, 100, 1), (200, 0.1, 500, 1), (60, 0.3, 500, 2)]
)
@pytest.mark.parametrize("noise", [0.1, 0.25])
def test_long_queries_among_usual_ones_do_not_harm_them(n_tokens, share, rate_per_s, workers, noise):
    rng = np.random.default_rng(3)
    times = poisson(rate_per_s * workers, 2, rng)
    lengths = [n_tokens if number < share else None for number in rng.random(1009)]

    def figures(n_tokens, known, is_long=False):
        """Return the share of the usual or the long queries that are answered in time, and the quality of these."""
        settings = SimulationSettings(deadline_s=SLO_S, seconds=2, workers=workers, noise=noise, n_tokens=n_tokens)
        outcomes = simulate(known, "elastic", times, settings, actual=PROFILE_BY_TOKENS)
        counted = [outcome for outcome in outcomes if bool(outcome.request.n_tokens) == is_long]
        in_time = [outcome for outcome in counted if outcome.status is Status.IN_TIME]
        qualities = [PROFILE.levels[PROFILE.level_index(outcome.level)].quality for outcome in in_time]
        return len(in_time) / len(counted), sum(qualities) / len(in_time)

    in_time, quality = figures(lengths, PROFILE_BY_TOKENS)
    _, without_long = figures((None,), PROFILE_BY_TOKENS)
    in_time_unforeseen, quality_unforeseen = figures(lengths, PROFILE)
    assert in_time > 0.999 and in_time >= in_time_unforeseen - 0.001
    assert quality > quality_unforeseen and quality > without_long - 0.03
    assert figures(lengths, PROFILE_BY_TOKENS, is_long=True)[0] > 0.995
