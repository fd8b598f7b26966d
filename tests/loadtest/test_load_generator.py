"""The load generator against targets of known behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from load_fakes import BEST_LEVEL, PROFILE, FakeTarget, answer_after

from elasticdenser.engine.request import Status
from elasticdenser.engine.simulation.arrivals import ClosedLoop
from elasticdenser.errors import QueryError
from elasticdenser.loadtest.generator import LoadSettings, run_load
from elasticdenser.loadtest.memory import growth_per_hour, resident_bytes
from elasticdenser.loadtest.result import LoadResult, client_warning

TIMES = np.linspace(0, 0.2, 41)


def load(target, arrivals=TIMES, queries=("a", "b", "c"), *, deadline_s=0.1, is_stopped=lambda: False, **options):
    settings = LoadSettings(**{"deadline_s": deadline_s, "seconds": 0.3, "drain_s": 0.2, **options})
    return run_load(target, arrivals, queries, settings, is_stopped=is_stopped)


def counts(run):
    return {status: sum(outcome.status is status for outcome in run.outcomes) for status in Status}


def test_every_request_has_one_outcome():
    run = load(FakeTarget(answer_after()))
    assert sorted(outcome.request.id for outcome in run.outcomes) == list(range(41))
    assert counts(run)[Status.IN_TIME] == 41 and run.n_lost == 0 and not run.was_stopped
    by_number = sorted(run.outcomes, key=lambda outcome: outcome.request.id)
    assert np.allclose([outcome.request.arrival_s for outcome in by_number], TIMES)
    assert run.memory[0][1] == 1000


def test_outcomes_are_distinguished():
    responses = {
        0: (0.15, Status.IN_TIME, BEST_LEVEL),  # late by the clock of the load generator
        1: (0.001, Status.REFUSED, None),
        2: (0.001, Status.SHED, None),
        3: (0.001, Status.FAILED, None),
        4: None,
    }
    run = load(FakeTarget(lambda number: responses.get(number, (0.001, Status.LATE, BEST_LEVEL))))
    assert counts(run) == {
        Status.IN_TIME: 36,  # by the clock of the load generator, although the target says that they are late
        Status.LATE: 1,
        Status.REFUSED: 1,
        Status.SHED: 1,
        Status.FAILED: 1,
        Status.LOST: 1,
    }
    assert run.n_lost == 1


def test_queries_are_sent_in_turn_with_deadlines_from_their_scheduled_times():
    target = FakeTarget(answer_after())
    run = load(target)
    assert len({request.text for request in target.requests[:3]}) == 3
    gaps_s = np.diff([request.deadline_s for request in target.requests])
    assert np.allclose(gaps_s, np.diff(TIMES), atol=1e-6)
    requests = [outcome.request for outcome in run.outcomes]
    assert all(request.deadline_s - request.arrival_s == pytest.approx(0.1) for request in requests)


def test_the_lateness_of_the_load_generator_counts_as_latency():
    run = load(FakeTarget(answer_after(), send_s=0.06), deadline_s=0.05)
    assert counts(run)[Status.LATE] > 20
    assert run.lateness_p99_s > 0.02
    result = LoadResult.from_run("elastic", run, PROFILE, TIMES, None)
    assert not result.is_on_time
    warning = f"too late, by at least {1000 * run.lateness_p99_s:.1f} ms with elastic, so the figures say little"
    assert warning in client_warning([result])


def test_a_load_generator_that_is_on_time():
    run = load(FakeTarget(answer_after()), deadline_s=2.0)
    result = LoadResult.from_run("elastic", run, PROFILE, TIMES, None)
    assert result.is_on_time and client_warning([result]) is None


def test_in_a_closed_loop_each_client_has_one_request():
    run = load(FakeTarget(answer_after(0.02)), ClosedLoop(clients=3))
    assert 6 <= len(run.outcomes) <= 3 * 16
    for now_s in sorted(outcome.request.arrival_s for outcome in run.outcomes):
        assert sum(outcome.request.arrival_s <= now_s < outcome.end_s for outcome in run.outcomes) <= 3


def test_in_a_closed_loop_a_rejected_client_pauses():
    run = load(FakeTarget(lambda number: (0.001, Status.REFUSED, None)), ClosedLoop(clients=1), deadline_s=0.1)
    assert 2 <= len(run.outcomes) <= 4


def test_a_stopped_run_reports_what_was_sent():
    target = FakeTarget(answer_after())
    run = load(target, is_stopped=lambda: len(target.requests) >= 10)
    assert run.was_stopped and 10 <= len(run.outcomes) < 41
    assert counts(run)[Status.IN_TIME] == len(run.outcomes)


def test_a_run_ends_although_the_target_never_responds():
    run = load(FakeTarget(lambda number: None))
    assert run.n_lost == 41 and max(outcome.end_s for outcome in run.outcomes) < 0.2 + 0.2 + 0.3


def test_no_queries_and_settings_out_of_range_are_refused():
    with pytest.raises(QueryError, match="got no queries"):
        load(FakeTarget(answer_after()), queries=())
    for name, value in (("deadline_s", 0), ("deadline_s", float("nan")), ("drain_s", 0), ("k", 0)):
        with pytest.raises(QueryError, match=f"got {name} = {value}; expected"):
            load(FakeTarget(answer_after()), **{name: value})


def test_memory_and_its_growth_are_measured(tmp_path):
    import os

    assert (resident_bytes(os.getpid()) or 0) > 1_000_000
    assert resident_bytes(os.getpid(), tmp_path) is None
    assert growth_per_hour([(0, 5), (1, 6)]) is None
    assert growth_per_hour([(0.0, 100), (1800.0, 150), (3600.0, 200)]) == pytest.approx(100)
