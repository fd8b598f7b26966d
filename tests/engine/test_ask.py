"""`RetrievalEngine.ask`: at low load the calling thread searches, and its failures affect no other client."""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np
import pytest
from engine_helpers import PROFILE
from waiting import LONG_DEADLINE_S, wait_until

from elasticdenser.engine import OverloadedError, RetrievalEngine, WorkerError
from elasticdenser.errors import QueryError


def ask_ignoring_failure(ask, query):
    with suppress(WorkerError):
        ask(query)


def test_at_low_load_the_calling_thread_searches(engine, search):
    answer = engine.ask("who wrote dune", 2)
    assert answer.hits == ["who wrote dune/0", "who wrote dune/1"]
    assert (answer.level, answer.late, answer.batch_size) == ("w1-d6", False, 1)
    assert search.threads == [threading.get_ident()]
    assert engine.snapshot().statuses["in time"] == engine.snapshot().levels["w1-d6"] == 1


def test_while_another_batch_runs_a_worker_searches(engine, search):
    search.gate.clear()
    running = engine.submit("first")
    wait_until(lambda: search.batches)
    threading.Timer(0.1, search.gate.set).start()
    assert engine.ask("second", 1).hits == ["second/0"]
    assert running.result(5) and threading.get_ident() not in search.threads


def test_errors_are_raised_in_the_calling_thread(engine):
    with pytest.raises(WorkerError, match="out of paper"):
        engine.ask("die")
    with pytest.raises(QueryError, match="not in the index"):
        engine.ask("unknown id")
    with pytest.raises(OverloadedError, match="cannot answer it in time"):
        engine.ask("dune", deadline_s=1e-5)
    with pytest.raises(QueryError, match="got k = 0"):
        engine.ask("dune", 0)
    assert engine.ask("dune", np.int64(1)).hits == ["dune/0"]
    assert engine.snapshot().n_running == engine.snapshot().n_waiting == 0


def test_an_interrupt_is_raised_in_the_calling_thread_only(engine, search):
    joined = []

    def interrupted(queries, level):
        joined.append(engine.submit("dune"))
        raise KeyboardInterrupt

    search.search_batch = interrupted
    with pytest.raises(KeyboardInterrupt):
        engine.ask("dune")
    with pytest.raises(WorkerError, match="KeyboardInterrupt"):
        joined[0].result(5)


@pytest.mark.parametrize("first", ["dune", "hang"])
def test_a_request_that_comes_meanwhile_is_answered_afterwards(search, first):
    with RetrievalEngine(search, PROFILE, slo_s=LONG_DEADLINE_S, workers=1, hang_timeout_s=0.2) as engine:
        search.gate.clear()
        client = threading.Thread(target=lambda: ask_ignoring_failure(engine.ask, first))
        client.start()
        wait_until(lambda: search.batches)
        second = engine.submit("second", 1)
        search.gate.set()
        assert second.result(3).hits == ["second/0"]
        client.join(5)


def test_a_search_that_hangs_blocks_the_calling_thread_only(search):
    search.hang_s, outcome = 60.0, []

    def ask():
        try:
            outcome.append(engine.ask("hang"))
        except WorkerError as error:
            outcome.append(error)

    with RetrievalEngine(search, PROFILE, slo_s=LONG_DEADLINE_S, workers=2, hang_timeout_s=1.0) as engine:
        client = threading.Thread(target=ask)
        client.start()
        wait_until(lambda: engine.snapshot().n_running)
        with pytest.raises(WorkerError, match="hung"):
            engine.submit("hang").result(20)  # equal, so it joined
        assert engine.submit("next").result(20) and not outcome
        search.released.set()
        client.join(20)
        assert "hung" in str(outcome[0]) and engine.snapshot().replaced_workers == 0


def test_closing_waits_for_the_calling_thread(engine, search):
    search.gate.clear()
    answers = []
    client = threading.Thread(target=lambda: answers.append(engine.ask("dune", 1)))
    client.start()
    wait_until(lambda: search.batches)
    threading.Timer(0.1, search.gate.set).start()
    engine.close()
    client.join(5)
    assert answers[0].hits == ["dune/0"]


def test_closing_does_not_wait_for_a_calling_thread_that_hangs(search):
    search.hang_s = 60.0
    engine = RetrievalEngine(search, PROFILE, slo_s=LONG_DEADLINE_S, workers=1, hang_timeout_s=0.1)
    client = threading.Thread(target=lambda: ask_ignoring_failure(engine.ask, "hang"))
    client.start()
    wait_until(lambda: search.batches)
    engine.close()
    assert client.is_alive()
    search.released.set()
    client.join(5)
