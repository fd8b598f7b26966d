"""`RetrievalEngine.ask`: at rest whoever asks searches, and nobody else suffers by what becomes of it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from engine_helpers import PROFILE, SLOW_S, until

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import OverloadedError, WorkerError
from elasticdenser.errors import QueryError


def suppressed(ask, query):
    with suppress(WorkerError):
        ask(query)


@pytest.fixture
def search(fake_search):
    return fake_search


def test_at_rest_whoever_asks_searches(engine, search):
    answer = engine.ask("who wrote dune", 2)
    assert answer.hits == ["who wrote dune/0", "who wrote dune/1"]
    assert (answer.level, answer.late, answer.batch_size) == ("w1-d6", False, 1)
    assert search.threads == [threading.get_ident()]
    assert engine.snapshot().statuses["in time"] == engine.snapshot().levels["w1-d6"] == 1


def test_while_others_are_searched_for_a_worker_does(engine, search):
    search.gate.clear()
    running = engine.submit("first")
    until(lambda: search.batches)
    threading.Timer(0.1, search.gate.set).start()
    assert engine.ask("second", 1).hits == ["second/0"]
    assert running.result(5) and threading.get_ident() not in search.threads


def test_what_cannot_be_searched_is_told_to_whoever_asks(engine):
    with pytest.raises(WorkerError, match="out of paper"):
        engine.ask("die")
    with pytest.raises(QueryError, match="not in the index"):
        engine.ask("unknown id")
    with pytest.raises(OverloadedError, match="cannot answer it in time"):
        engine.ask("dune", deadline_s=1e-5)
    with pytest.raises(QueryError, match="got k = 0"):
        engine.ask("dune", 0)
    assert engine.ask("dune", 1).hits == ["dune/0"]
    assert engine.snapshot().n_running == engine.snapshot().n_waiting == 0


def test_an_interrupt_is_only_for_whoever_asks(engine, search):
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
def test_who_comes_while_somebody_searches_himself_is_searched_for_after_it(search, first):
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=0.2) as engine:
        search.gate.clear()
        asker = threading.Thread(target=lambda: suppressed(engine.ask, first))
        asker.start()
        until(lambda: search.batches)
        second = engine.submit("second", 1)
        search.gate.set()
        assert second.result(3).hits == ["second/0"]
        asker.join(5)


def test_a_search_that_hangs_does_so_for_whoever_asked_only(engine):
    outcome = []

    def ask():
        try:
            outcome.append(engine.ask("hang"))
        except WorkerError as error:
            outcome.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    until(lambda: engine.snapshot().n_running)
    with pytest.raises(WorkerError, match="hung"):
        engine.submit("hang").result(0.9)  # equal, so it joined; the search takes 1 s
    assert engine.submit("next").result(5) and not outcome
    asker.join(5)
    assert "hung" in str(outcome[0]) and engine.snapshot().replaced_workers == 0


def test_closing_waits_for_whoever_searches(engine, search):
    search.gate.clear()
    answers = []
    asker = threading.Thread(target=lambda: answers.append(engine.ask("dune", 1)))
    asker.start()
    until(lambda: search.batches)
    threading.Timer(0.1, search.gate.set).start()
    engine.close()
    asker.join(5)
    assert answers[0].hits == ["dune/0"]


def test_closing_does_not_wait_for_whom_nobody_can_help(search):
    engine = RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=0.1)
    asker = threading.Thread(target=lambda: suppressed(engine.ask, "hang"))
    asker.start()
    until(lambda: search.batches)
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 0.9 and asker.is_alive()  # the search takes 1 s
    asker.join(5)
