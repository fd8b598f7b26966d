"""When answers are handed out: after the next batch has been begun, whatever callbacks do."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from functools import partial

import pytest
from engine_helpers import PROFILE, SLOW_S, FakeSearch, until

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError


@pytest.fixture
def search(fake_search):
    return fake_search


class Elsewhere(FakeSearch):
    """A fake of `ProcessPoolSearch`: what has been begun is searched when somebody waits for it."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.course: list[str] = []

    def begin(self, queries, level):
        self.course.append(f"begun {queries[0].text}")
        return partial(self.search_batch, queries, level)


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.dispatcher.ProcessPoolSearch", Elsewhere)
    search = Elsewhere(run_s=0.01)
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=0.2) as engine:
        yield engine, search


def two_in_a_row(engine, search, called):
    """Return the futures of two queries that are run one after the other; `called` is a callback of the first."""
    search.gate.clear()
    first = engine.submit("first", 1)
    until(lambda: search.batches)
    first.add_done_callback(called)
    second = engine.submit("second", 1)
    search.gate.set()
    return first, second


def test_the_next_batch_is_begun_before_the_last_ones_answers_are_handed_out(elsewhere):
    engine, search = elsewhere
    futures = two_in_a_row(engine, search, lambda _: search.course.append("told first"))
    wait(futures, 5)
    assert search.course == ["begun first", "begun second", "told first"]


def test_a_callback_that_takes_long_does_not_fail_the_next_batch(elsewhere):
    engine, search = elsewhere
    gate = threading.Event()
    _, second = two_in_a_row(engine, search, lambda _: gate.wait(5))
    assert second.result(3).hits == ["second/0"]  # another worker has taken it over
    assert search.course == ["begun first", "begun second"]
    assert engine.snapshot().replaced_workers == 1
    gate.set()
    assert engine.submit("third", 1).result(5).hits == ["third/0"]


def test_a_callback_that_takes_long_holds_nobody_but_its_worker(search):
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=0.1) as engine:
        gate = threading.Event()
        _, second = two_in_a_row(engine, search, lambda _: gate.wait(5))
        assert second.result(3).hits == ["second/0"]
        gate.set()


def test_answers_are_told_although_the_next_batch_cannot_be_begun(elsewhere):
    engine, search = elsewhere
    gate, begin = threading.Event(), search.begin

    def blocking(queries, level):
        if queries[0].text == "second":
            gate.wait(5)
        return begin(queries, level)

    search.begin = blocking
    first, second = two_in_a_row(engine, search, lambda _: None)
    assert first.result(3).hits == ["first/0"]
    with pytest.raises(WorkerError, match="hung"):
        second.result(3)
    gate.set()
    until(lambda: ["second"] in [texts for texts, _ in search.batches])  # what was begun must be ended


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
def test_a_callback_that_fails_is_told_of_and_harms_nobody(elsewhere, raised, caplog):
    engine, search = elsewhere

    def fails(_):
        raise raised("oh")

    _, second = two_in_a_row(engine, search, fails)
    assert second.result(5).hits == ["second/0"]
    assert "oh" in caplog.text and engine.snapshot().replaced_workers == 0


@pytest.mark.parametrize("kind", [iter, lambda hits: (its for its in hits)])
def test_hits_may_come_one_after_the_other(engine, search, kind):
    of_list = search.search_batch
    search.search_batch = lambda queries, level: kind(of_list(queries, level))
    assert engine.ask("dune", 1).hits == engine.submit("dune", 1).result(5).hits == ["dune/0"]
