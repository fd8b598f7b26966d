"""Delivery of answers: after the next batch has been started, whatever callbacks of futures do."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from functools import partial

import pytest
from engine_helpers import PROFILE, SLOW_S, FakeSearch, until

from elasticdenser.engine import DeliveryListener, OverloadedError, RetrievalEngine, WorkerError


@pytest.fixture
def search(fake_search):
    return fake_search


class AsynchronousSearch(FakeSearch):
    """A fake of `ProcessPoolSearch`: a started batch is searched when its result is awaited."""

    is_asynchronous = True

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.events: list[str] = []

    def start_batch(self, queries, level):
        self.events.append(f"started {queries[0].text}")
        return partial(self.search_batch, queries, level)


@pytest.fixture
def asynchronous():
    search = AsynchronousSearch(run_s=0.01)
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=0.2) as engine:
        yield engine, search


def submit_two(engine, search, callback):
    """Return the futures of two queries that run one after the other; `callback` is a callback of the first."""
    search.gate.clear()
    first = engine.submit("first", 1)
    until(lambda: search.batches)
    first.add_done_callback(callback)
    second = engine.submit("second", 1)
    search.gate.set()
    return first, second


def test_the_next_batch_is_started_before_the_answers_of_the_last_one_are_delivered(asynchronous):
    engine, search = asynchronous
    futures = submit_two(engine, search, lambda _: search.events.append("delivered first"))
    wait(futures, 5)
    assert search.events == ["started first", "started second", "delivered first"]


def test_a_slow_callback_does_not_fail_the_next_batch(asynchronous):
    engine, search = asynchronous
    gate = threading.Event()
    _, second = submit_two(engine, search, lambda _: gate.wait(5))
    assert second.result(3).hits == ["second/0"]  # another worker has taken it over
    assert search.events == ["started first", "started second"]
    assert engine.snapshot().replaced_workers == 1
    gate.set()
    assert engine.submit("third", 1).result(5).hits == ["third/0"]


def test_a_slow_callback_blocks_only_its_worker(search):
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=0.1) as engine:
        gate = threading.Event()
        _, second = submit_two(engine, search, lambda _: gate.wait(5))
        assert second.result(3).hits == ["second/0"]
        gate.set()


def test_answers_are_delivered_although_the_next_batch_cannot_be_started(asynchronous):
    engine, search = asynchronous
    gate, start_batch = threading.Event(), search.start_batch

    def blocking(queries, level):
        if queries[0].text == "second":
            gate.wait(5)
        return start_batch(queries, level)

    search.start_batch = blocking
    first, second = submit_two(engine, search, lambda _: None)
    assert first.result(3).hits == ["first/0"]
    with pytest.raises(WorkerError, match="hung"):
        second.result(3)
    gate.set()
    until(lambda: ["second"] in [texts for texts, _ in search.batches])  # a started batch must be awaited


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
def test_a_callback_that_fails_is_logged_and_harms_no_other(asynchronous, raised, caplog):
    engine, search = asynchronous

    def fail(_):
        raise raised("oh")

    _, second = submit_two(engine, search, fail)
    assert second.result(5).hits == ["second/0"]
    assert "oh" in caplog.text and engine.snapshot().replaced_workers == 0


class Recorder(DeliveryListener):
    """Records its events, and how many answers came before each."""

    def __init__(self) -> None:
        self.events, self.answers = [], []

    def batch_finished(self, finished_s):
        assert finished_s > 0
        self.events.append(("finished", len(self.answers)))

    def delivered(self):
        if self.events[-1:] != [("delivered", len(self.answers))]:  # the watchdog delivers nothing all the time
            self.events.append(("delivered", len(self.answers)))


def test_a_listener_is_notified_before_and_after_the_answers_of_a_batch(search):
    recorder = Recorder()
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, listener=recorder) as engine:
        search.gate.clear()
        futures = [engine.submit(text, 1) for text in ("dune", "spice", "water")]
        for future in futures:
            future.add_done_callback(recorder.answers.append)
        recorder.events.clear()
        search.gate.set()
        wait(futures, 5)
        until(lambda: recorder.events[-1:] == [("delivered", 3)])
    n_batches = len(search.batches)
    assert [event for event, _ in recorder.events if event == "finished"] == ["finished"] * n_batches
    assert [event for event in recorder.events if event[1] in (0, 3)][-1] == ("delivered", 3)


@pytest.mark.parametrize(("query", "error"), [("die", WorkerError), ("late", OverloadedError)])
def test_a_listener_is_notified_of_failed_batches_and_shed_requests(search, query, error):
    recorder = Recorder()
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1, hang_timeout_s=30, listener=recorder) as engine:
        search.gate.clear()
        running = engine.submit("die" if query == "die" else "first")
        until(lambda: search.batches)
        future = running if query == "die" else engine.submit(query, deadline_s=0.1)
        future.add_done_callback(recorder.answers.append)
        if query == "die":
            search.gate.set()
        with pytest.raises(error):
            future.result(5)
        until(lambda: recorder.events[-1:] == [("delivered", 1)])
        search.gate.set()


@pytest.mark.parametrize("kind", [iter, tuple])
def test_hits_may_be_any_iterable(engine, search, kind):
    search_batch = search.search_batch
    search.search_batch = lambda queries, level: kind(search_batch(queries, level))
    assert engine.ask("dune", 1).hits == engine.submit("dune", 1).result(5).hits == ["dune/0"]
