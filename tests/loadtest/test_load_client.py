"""The client against targets whose behaviour is known."""

from __future__ import annotations

import numpy as np
import pytest
from load_fakes import BEST, PROFILE, FakeTarget, answered

from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop
from elasticdenser.errors import QueryError
from elasticdenser.loadtest.client import ClientSettings, run_load
from elasticdenser.loadtest.memory import growth_per_hour, held_bytes
from elasticdenser.loadtest.result import Result

TIMES = np.linspace(0, 0.2, 41)


def run(target, times=TIMES, queries=("a", "b", "c"), *, deadline_s=0.1, is_stopped=lambda: False, **options):
    settings = ClientSettings(deadline_s=deadline_s, seconds=0.3, **{"drain_s": 0.2, **options})
    return run_load(target, times, queries, settings, is_stopped=is_stopped)


def counts(made):
    return {status: sum(one.status is status for one in made.outcomes) for status in Status}


def test_every_request_has_one_outcome():
    made = run(FakeTarget(answered()))
    assert sorted(one.request.id for one in made.outcomes) == list(range(41))
    assert counts(made)[Status.IN_TIME] == 41 and made.n_lost == 0 and not made.was_stopped
    by_number = sorted(made.outcomes, key=lambda one: one.request.id)
    assert np.allclose([one.request.arrival_s for one in by_number], TIMES)
    assert made.memory[0][1] == 1000


def test_late_refused_shed_failed_and_lost_are_told_apart():
    fates = {
        0: (0.15, Status.IN_TIME, BEST),  # the target believes that it is in time
        1: (0.001, Status.REFUSED, None),
        2: (0.001, Status.SHED, None),
        3: (0.001, Status.FAILED, None),
        4: None,
    }
    made = run(FakeTarget(lambda number: fates.get(number, (0.001, Status.LATE, BEST))))
    assert counts(made) == {
        Status.IN_TIME: 36,  # by the client's clock, whatever the target says
        Status.LATE: 1,
        Status.REFUSED: 1,
        Status.SHED: 1,
        Status.FAILED: 1,
        Status.LOST: 1,
    }
    assert made.n_lost == 1


def test_queries_are_asked_in_turn_and_deadlines_hold_from_when_they_were_due():
    target = FakeTarget(answered())
    made = run(target)
    assert len({one.text for one in target.asked[:3]}) == 3
    gaps_s = np.diff([one.due_s for one in target.asked])
    assert np.allclose(gaps_s, np.diff(TIMES), atol=1e-6)
    assert all(one.request.deadline_s - one.request.arrival_s == pytest.approx(0.1) for one in made.outcomes)


def test_time_that_the_client_loses_counts():
    made = run(FakeTarget(answered(), send_s=0.06), deadline_s=0.05)
    assert counts(made)[Status.LATE] > 20
    assert made.lag_p99_s > 0.02
    assert not Result.of("elastic", made, PROFILE, TIMES, None).kept_up


def test_a_client_that_keeps_up_says_so():
    made = run(FakeTarget(answered()), deadline_s=2.0)
    assert Result.of("elastic", made, PROFILE, TIMES, None).kept_up


def test_clients_that_wait_have_one_request_each():
    target = FakeTarget(answered(0.02))
    made = run(target, ClosedLoop(clients=3))
    assert 6 <= len(made.outcomes) <= 3 * 16
    starts = sorted(one.request.arrival_s for one in made.outcomes)
    for at_s in starts:
        assert sum(one.request.arrival_s <= at_s < one.at_s for one in made.outcomes) <= 3


def test_who_is_turned_away_waits_before_the_next():
    made = run(FakeTarget(lambda number: (0.001, Status.REFUSED, None)), ClosedLoop(clients=1), deadline_s=0.1)
    assert 2 <= len(made.outcomes) <= 4


def test_it_stops_when_it_is_told_to_and_reports_what_it_has():
    target = FakeTarget(answered())
    made = run(target, is_stopped=lambda: len(target.asked) >= 10)
    assert made.was_stopped and 10 <= len(made.outcomes) < 41
    assert counts(made)[Status.IN_TIME] == len(made.outcomes)


def test_it_ends_in_time_whatever_the_target_does():
    made = run(FakeTarget(lambda number: None))
    assert made.n_lost == 41 and max(one.at_s for one in made.outcomes) < 0.2 + 0.2 + 0.3


def test_no_queries_and_figures_out_of_range():
    with pytest.raises(QueryError, match="got no queries"):
        run(FakeTarget(answered()), queries=())
    for bad in ({"deadline_s": 0}, {"deadline_s": float("nan")}, {"drain_s": 0}, {"k": 0}):
        with pytest.raises(QueryError, match="expected all of them above 0"):
            run(FakeTarget(answered()), **bad)


def test_memory(tmp_path):
    import os

    assert (held_bytes(os.getpid()) or 0) > 1_000_000
    assert held_bytes(os.getpid(), tmp_path) is None
    assert growth_per_hour([(0, 5), (1, 6)]) is None
    assert growth_per_hour([(0.0, 100), (1800.0, 150), (3600.0, 200)]) == pytest.approx(100)
