"""The engine with a fake search: answers, rejections, workers that die or hang, and closing."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, wait

import pytest
from engine_helpers import PROFILE, SLOW_S

import elasticdenser.engine
from elasticdenser.engine import EngineClosedError, OverloadedError, RetrievalEngine, WorkerError
from elasticdenser.errors import QueryError


@pytest.fixture
def search(fake_search):
    return fake_search


def test_an_answer_holds_its_level_and_times(engine):
    answer = engine.submit("who wrote dune", k=2).result(5)
    assert answer.hits == ["who wrote dune/0", "who wrote dune/1"]
    assert (answer.level, answer.late) == ("w1-d6", False)
    assert 0 <= answer.queued_s < 1 and 0.002 <= answer.ran_s < 1


def test_many_answers_in_their_order(engine):
    answers = engine.search_many([f"q{number}" for number in range(300)], k=1)
    assert [answer.hits for answer in answers] == [[f"q{number}/0"] for number in range(300)]
    assert engine.snapshot().statuses["in time"] == 300
    assert engine.snapshot().levels["w1-d6"] == 300


def test_from_coroutines(engine):
    async def ask():
        return await asyncio.gather(*(engine.search(f"q{number}", k=1) for number in range(20)))

    assert [answer.hits for answer in asyncio.run(ask())] == [[f"q{number}/0"] for number in range(20)]


def test_no_request_from_many_threads_is_lost(engine):
    hits = {}

    def client(name):
        for number in range(25):
            text = f"{name}-{number}"
            hits[text] = engine.submit(text, k=1).result(10).hits

    threads = [threading.Thread(target=client, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hits) == 200 and all(hits_of_text == [f"{text}/0"] for text, hits_of_text in hits.items())


def occupy(engine, search):
    """Let all workers wait at the gate."""
    search.gate.clear()
    futures = []
    for number in range(2):
        futures.append(engine.submit(f"busy {number}"))
        until = time.monotonic() + 5
        while len(search.batches) <= number and time.monotonic() < until:
            time.sleep(0.001)
    return futures


@pytest.fixture
def patient(search):
    with RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=2, hang_timeout_s=30, max_unfinished=8) as engine:
        yield engine
        search.gate.set()


def test_equal_queries_are_computed_once(patient, search):
    occupy(patient, search)
    futures = [patient.submit("same", k=1) for _ in range(3)] + [patient.submit("same", k=2)]
    search.gate.set()
    assert [len(future.result(5).hits) for future in futures] == [1, 1, 1, 2]
    assert sum(texts.count("same") for texts, _ in search.batches) == 2


def test_a_full_engine_rejects_at_once(patient, search):
    futures = occupy(patient, search) + [patient.submit(f"q{number}") for number in range(6)]
    with pytest.raises(OverloadedError, match="try again later") as refused:
        patient.submit("one too many")
    assert refused.value.retry_after_s > 0
    assert patient.snapshot().statuses["refused"] == 1
    search.gate.set()
    assert len(wait(futures, 5).done) == 8


def test_a_request_that_can_no_longer_be_in_time_fails_while_the_workers_are_busy(patient, search):
    occupy(patient, search)
    too_late = patient.submit("too late", deadline_s=0.2)
    with pytest.raises(OverloadedError, match="shed after"):
        too_late.result(5)
    assert patient.snapshot().statuses["shed"] == 1


def test_a_cancelled_query_is_never_run(patient, search):
    occupy(patient, search)
    future = patient.submit("never mind")
    assert future.cancel()
    search.gate.set()
    assert patient.submit("after").result(5)
    assert all("never mind" not in texts for texts, _ in search.batches)
    with pytest.raises(CancelledError):
        future.result(0)


@pytest.mark.parametrize(
    ("query", "said"), [("die", "RuntimeError: out of paper"), ("exit", "SystemExit: gone"), ("short", "hits of 0")]
)
def test_a_batch_that_dies_fails_and_the_engine_continues(engine, query, said):
    with pytest.raises(WorkerError, match=said):
        engine.submit(query).result(5)
    for number in range(4):
        assert engine.submit(f"fine {number}").result(5).level
    assert engine.snapshot().statuses["failed"] == 1


def test_a_query_that_cannot_be_searched_fails_alone(patient, search):
    occupy(patient, search)
    bad, *good = [patient.submit(text, k=1) for text in ("unknown id", "a", "b")]
    search.gate.set()
    with pytest.raises(QueryError, match="not in the index"):
        bad.result(5)
    assert [future.result(5).hits for future in good] == [["a/0"], ["b/0"]]
    statuses = patient.snapshot().statuses
    assert (statuses["failed"], statuses["in time"]) == (1, 4)


def test_search_many_leaves_room_for_others(patient, search):
    occupy(patient, search)
    answers = []
    bulk = threading.Thread(target=lambda: answers.extend(patient.search_many([f"q{n}" for n in range(40)], k=1)))
    bulk.start()
    time.sleep(0.05)
    others = [patient.submit(f"other {number}") for number in range(4)]  # of 8, 2 run
    search.gate.set()
    assert all(future.result(5).hits for future in others)
    bulk.join(10)
    assert [answer.hits for answer in answers] == [[f"q{number}/0"] for number in range(40)]


def test_search_many_waits_while_others_fill_the_engine(patient, search):
    held = occupy(patient, search) + [patient.submit(f"other {number}") for number in range(6)]
    answers = []
    bulk = threading.Thread(target=lambda: answers.extend(patient.search_many(["a", "b"], k=1)))
    bulk.start()
    time.sleep(0.05)
    assert not answers
    search.gate.set()
    bulk.join(10)
    assert [answer.hits for answer in answers] == [["a/0"], ["b/0"]] and len(wait(held, 5).done) == 8


def test_search_many_cancels_the_rest_when_a_query_is_bad(patient, search):
    occupy(patient, search)
    with pytest.raises(QueryError, match="at least one character"):
        patient.search_many(["never run", " "])
    search.gate.set()
    assert patient.submit("after").result(5)
    assert all("never run" not in texts for texts, _ in search.batches)


def test_rejected_requests_are_counted(patient, search):
    assert not patient.would_reject() and not patient.would_reject(math.nan)
    occupy(patient, search)
    with pytest.raises(OverloadedError):
        patient.submit("in a hurry", deadline_s=1e-5)
    assert patient.would_reject(1e-6) and not patient.would_reject()
    assert patient.snapshot().statuses["refused"] == 2


def test_a_worker_that_hangs_is_replaced_and_the_engine_continues(engine):
    hanging = [engine.submit("hang"), engine.submit("hang", k=3)]
    others = [engine.submit(f"fine {number}") for number in range(5)]
    for future in hanging:
        with pytest.raises(WorkerError, match=r"its search hung for 0\.[2-9]"):
            future.result(0.9)
    assert all(future.exception(5) is None or isinstance(future.exception(), WorkerError) for future in others)
    assert engine.submit("after").result(0.9).level
    snapshot = engine.snapshot()
    assert 1 <= snapshot.replaced_workers <= 2 and snapshot.n_running == 0


def test_closing_answers_submitted_requests_and_rejects_new_ones(search):
    engine = RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=1)
    futures = [engine.submit(f"q{number}") for number in range(50)]
    engine.close()
    assert all(future.done() and future.result().hits for future in futures)
    with pytest.raises(EngineClosedError, match="closed"):
        engine.submit("late")
    engine.close()
    assert not [thread for thread in engine._workers._workers if thread.thread.is_alive()]


def test_closing_fails_requests_that_cannot_be_answered_in_time(search):
    engine = RetrievalEngine(search, PROFILE, slo_s=SLOW_S, workers=2, hang_timeout_s=30)
    futures = [*occupy(engine, search), engine.submit("waiting")]
    engine.close(timeout_s=0.1)
    for future in futures:
        with pytest.raises(EngineClosedError, match="before it could answer"):
            future.result(0)
    search.gate.set()


def test_a_bad_argument_is_refused_before_it_is_queued(engine):
    for bad, said in (
        ({"query": " "}, "at least one character"),
        ({"query": "q", "k": 0}, "k = 0"),
        ({"query": "q", "k": True}, "k = True"),
        ({"query": "q", "deadline_s": 0}, "deadline_s = 0"),
        ({"query": "q", "deadline_s": math.nan}, "deadline_s = nan"),
        ({"query": "q", "minimum_level": "w9"}, "got level 'w9'"),
        ({"query": "q", "doc_ids": "d1"}, "collection of ids"),
    ):
        with pytest.raises(QueryError, match=said):
            engine.submit(**bad)
    assert engine.snapshot().n_waiting == 0


@pytest.mark.parametrize(
    "options", [{"hang_timeout_s": 0}, {"hang_timeout_s": math.nan}, {"reserve_s": math.nan}, {"processes": True}]
)
def test_settings_out_of_range(search, options):
    with pytest.raises(QueryError, match=r"expected|only a Retriever"):
        RetrievalEngine(search, PROFILE, **options)


def test_a_callback_may_submit(engine):
    second = []
    first = engine.submit("first")
    first.add_done_callback(lambda _: second.append(engine.submit("second")))
    first.result(5)
    until = time.monotonic() + 5
    while not second and time.monotonic() < until:
        time.sleep(0.001)
    assert second[0].result(5).hits[0] == "second/0"


def test_warming_up_runs_every_level(engine, search):
    engine.warm_up()
    assert [level for _, level in search.batches] == [level.name for level in PROFILE.levels]


class _FakeEncoder:
    def resolve_subnet(self, name):
        if name not in {level.name for level in PROFILE.levels}:
            raise QueryError(f"got subnet {name}")


class _FakeHit:
    def __init__(self, query_id, doc_id):
        self.query_id, self.doc_id = query_id, doc_id


class _FakeRetriever:
    encoder = _FakeEncoder()

    def search(self, queries, k, *, subnet, doc_ids, recall):
        for query_id, text in queries.items():
            for rank in range(k):
                yield _FakeHit(query_id, f"{text}/{rank}/{sorted(doc_ids or [])}")


def test_the_packages_retriever_is_searched_in_batches_by_filter():
    with RetrievalEngine(_FakeRetriever(), PROFILE, slo_s=SLOW_S, workers=1) as engine:
        plain, filtered = engine.submit("a", k=1), engine.submit("b", k=2, doc_ids=["d2", "d1"])
        assert [hit.doc_id for hit in plain.result(5).hits] == ["a/0/[]"]
        assert [hit.doc_id for hit in filtered.result(5).hits] == ["b/0/['d1', 'd2']", "b/1/['d1', 'd2']"]


def test_a_search_of_another_kind_is_refused():
    with pytest.raises(QueryError, match="got a dict to search with; expected a Retriever"):
        RetrievalEngine({}, PROFILE)


def test_importing_the_engine_imports_nothing_heavy():
    code = "import sys, elasticdenser.engine; assert not {'numpy', 'torch', 'msgspec'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in elasticdenser.engine.__all__:
        assert getattr(elasticdenser.engine, name).__name__ == name
