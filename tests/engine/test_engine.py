"""The engine with a fake search: answers, rejections, workers that die or hang, and closing."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, wait
from dataclasses import replace

import pytest
from engine_helpers import PROFILE, FakeSearch
from waiting import LONG_DEADLINE_S, wait_until

import elasticdenser.engine
from elasticdenser.engine import EngineClosedError, OverloadedError, RetrievalEngine, WorkerError
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError


def test_an_answer_holds_its_level_and_times(engine):
    answer = engine.submit("who wrote dune", k=2).result(5)
    assert answer.hits == ["who wrote dune/0", "who wrote dune/1"]
    assert (answer.level, answer.late) == ("w1-d6", False)
    assert 0 <= answer.queued_s < 1 and 0.002 <= answer.ran_s < 1


def test_search_many_returns_answers_in_the_order_of_the_queries(engine):
    answers = engine.search_many([f"q{number}" for number in range(300)], k=1)
    assert [answer.hits for answer in answers] == [[f"q{number}/0"] for number in range(300)]
    assert engine.snapshot().statuses["in time"] == 300
    assert engine.snapshot().levels["w1-d6"] == 300


def test_coroutines_get_their_answers(engine):
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
        wait_until(lambda n_batches=number + 1: len(search.batches) == n_batches)
    return futures


@pytest.fixture
def patient(search):
    with RetrievalEngine(
        search, PROFILE, slo_s=LONG_DEADLINE_S, workers=2, hang_timeout_s=30, max_unfinished=8
    ) as engine:
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
    ("query", "message"), [("die", "RuntimeError: out of paper"), ("exit", "SystemExit: gone"), ("short", "hits of 0")]
)
def test_a_batch_that_dies_fails_and_the_engine_continues(engine, query, message):
    with pytest.raises(WorkerError, match=message):
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


def test_search_many_reports_a_deadline_that_cannot_be_met(patient, search):
    held = occupy(patient, search) + [patient.submit(f"other {number}") for number in range(6)]
    with pytest.raises(OverloadedError):
        patient.search_many(["a"], deadline_s=None)  # the default of the engine, as for `submit`
    search.gate.set()
    assert len(wait(held, 5).done) == 8


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


def test_a_worker_that_hangs_is_replaced_and_the_engine_continues(engine, search):
    search.hang_s = 60.0
    hanging = [engine.submit("hang"), engine.submit("hang", k=3)]
    others = [engine.submit(f"fine {number}") for number in range(5)]
    for future in hanging:
        with pytest.raises(WorkerError, match=r"its search hung for \d"):
            future.result(20)
    assert all(future.exception(5) is None or isinstance(future.exception(), WorkerError) for future in others)
    assert engine.submit("after").result(20).level
    search.released.set()
    snapshot = engine.snapshot()
    assert 1 <= snapshot.replaced_workers <= 2 and snapshot.n_running == 0


def test_closing_answers_submitted_requests_and_rejects_new_ones(search):
    engine = RetrievalEngine(search, PROFILE, slo_s=LONG_DEADLINE_S, workers=1)
    futures = [engine.submit(f"q{number}") for number in range(50)]
    engine.close()
    assert all(future.done() and future.result().hits for future in futures)
    with pytest.raises(EngineClosedError, match="closed"):
        engine.submit("late")
    engine.close()
    assert not [thread for thread in engine._workers._workers if thread.thread.is_alive()]


def test_closing_fails_requests_that_cannot_be_answered_in_time(search):
    engine = RetrievalEngine(search, PROFILE, slo_s=LONG_DEADLINE_S, workers=2, hang_timeout_s=30)
    futures = [*occupy(engine, search), engine.submit("waiting")]
    engine.close(timeout_s=0.1)
    for future in futures:
        with pytest.raises(EngineClosedError, match="before it could answer"):
            future.result(0)
    search.gate.set()


class _CountingSearch(FakeSearch):
    """A fake search whose tokens are words; it records the texts whose tokens were counted."""

    def __init__(self):
        super().__init__()
        self.counted = []

    def count_tokens(self, text):
        self.counted.append(text)
        return len(text.split())


BY_LENGTH = Profile(
    levels=[
        PROFILE.levels[0],
        replace(PROFILE.levels[1], quality_by_tokens={2: 0.97, 64: 0.9}),
        replace(PROFILE.levels[-1], quality_by_tokens={2: 0.96, 64: 0.7}),
    ]
)


def test_a_minimum_quality_depends_on_the_number_of_tokens():
    search = _CountingSearch()
    with RetrievalEngine(search, BY_LENGTH, policy="static:level0", slo_s=LONG_DEADLINE_S, workers=1) as engine:
        assert engine.ask("short one").level == engine.ask("short one", minimum_quality=0).level == "level0"
        assert engine.ask("any", minimum_level="w1-d3").level == "w1-d3"
        assert not search.counted  # nothing depends on the length
        assert engine.ask("short one", minimum_quality=0.96).level == "level0"
        assert engine.submit("a longer one", minimum_quality=0.9).result(5).level == "w1-d3"
        assert asyncio.run(engine.search("an even longer one", minimum_quality=0.95)).level == "w1-d6"
        answers = engine.search_many(["two words", "three words here"], minimum_quality=0.95)
        assert [answer.level for answer in answers] == ["level0", "w1-d6"]
    assert search.counted == [
        "short one",
        "a longer one",
        "an even longer one",
        "two words",
        "three words here",
    ]


def test_long_queries_are_recognised_by_their_tokens():
    search, by_tokens = (
        _CountingSearch(),
        replace(
            PROFILE,
            levels=[replace(level, alone_by_tokens_s={16: level.latency_s[1], 100: 100.0}) for level in PROFILE.levels],
        ),
    )
    with RetrievalEngine(search, by_tokens, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        assert engine.ask("a short question").level == "w1-d6"
        with pytest.raises(OverloadedError, match="got a request of 100 tokens due in"):
            engine.ask("word " * 100)
        with pytest.raises(OverloadedError, match="of 90 tokens"):
            engine.submit("語 " * 90, minimum_quality=0.9)
        assert engine.ask("word " * 20, minimum_quality=0.9).level == "w1-d6"  # no quality depends on the length
    assert search.counted == ["word " * 100, "語 " * 90]


def test_requests_override_the_minimum_quality_of_the_engine():
    options = {"policy": "static:level0", "slo_s": LONG_DEADLINE_S, "workers": 1, "minimum_quality": 0.96}
    search = _CountingSearch()
    with RetrievalEngine(search, PROFILE, **options) as engine:
        assert engine.ask("q").level == "w1-d3"
        assert engine.ask("q", minimum_quality=0.0).level == "level0"
        assert engine.ask("q", minimum_quality=1).level == "w1-d6"
        assert engine.ask("q", minimum_level="w1-d6").level == "w1-d6"
        assert engine.ask("q", minimum_level="level0").level == "w1-d3"
    assert not search.counted  # this profile knows no lengths
    with RetrievalEngine(FakeSearch(), BY_LENGTH, **options) as engine:  # a search that counts no tokens
        assert engine.ask("some words of a query").level == "w1-d3"


def test_a_bad_argument_is_refused_before_it_is_queued(engine):
    for bad, message in (
        ({"query": " "}, "at least one character"),
        ({"query": "q", "k": 0}, "k = 0"),
        ({"query": "q", "k": True}, "k = True"),
        ({"query": "q", "deadline_s": 0}, "deadline_s = 0"),
        ({"query": "q", "deadline_s": math.nan}, "deadline_s = nan"),
        ({"query": "q", "minimum_level": "w9"}, "got level 'w9'"),
        ({"query": "q", "minimum_quality": 1.1}, "minimum_quality = 1.1; expected a share from 0 to 1"),
        ({"query": "q", "minimum_quality": -0.1}, "minimum_quality = -0.1"),
        ({"query": "q", "minimum_quality": math.nan}, "minimum_quality = nan"),
        ({"query": "q", "minimum_quality": True}, "minimum_quality = True"),
        ({"query": "q", "minimum_quality": "high"}, "minimum_quality = 'high'"),
        ({"query": "q", "doc_ids": "d1"}, "collection of ids"),
        ({"query": "q", "doc_ids": 5}, r"expected a collection of ids, such as \['5'\]"),
        ({"query": "q", "deadline_s": "soon"}, "got deadline_s = soon"),
        ({"query": "q", "priority": None}, "got priority = None"),
        ({"query": "q", "filter": "n >"}, "filter, position 4: got its end, expected a value"),
        ({"query": "q", "filter": {}}, "expected an object with must, should, must_not"),
    ):
        with pytest.raises(QueryError, match=message):
            engine.submit(**bad)
    assert engine.snapshot().n_waiting == 0


@pytest.mark.parametrize(
    "options",
    [
        {"hang_timeout_s": 0},
        {"hang_timeout_s": math.nan},
        {"reserve_s": math.nan},
        {"minimum_quality": 95},
        {"processes": True},
    ],
)
def test_settings_out_of_range_are_refused(search, options):
    with pytest.raises(QueryError, match=r"expected|only a Retriever"):
        RetrievalEngine(search, PROFILE, **options)


def test_a_callback_may_submit(engine):
    second = []
    first = engine.submit("first")
    first.add_done_callback(lambda _: second.append(engine.submit("second")))
    first.result(5)
    wait_until(lambda: second)
    assert second[0].result(5).hits[0] == "second/0"


def test_warming_up_runs_every_level(engine, search):
    engine.warm_up()
    assert [level for _, level in search.batches] == [level.name for level in PROFILE.levels]


class _FakeEncoder:
    def shorten_query(self, text):
        return text

    def resolve_subnet(self, name):
        if name not in {level.name for level in PROFILE.levels}:
            raise QueryError(f"got subnet {name}")


class _FakeHit:
    def __init__(self, query_id, doc_id):
        self.query_id, self.doc_id = query_id, doc_id


class _FakeRetriever:
    encoder, reranker = _FakeEncoder(), None

    def search(self, queries, k, *, subnet, doc_ids, filter, recall, hybrid):
        for query_id, text in queries.items():
            for rank in range(k):
                yield _FakeHit(query_id, f"{text}/{rank}/{sorted(doc_ids or [])}{filter or ''}")


def test_the_packages_retriever_is_searched_in_batches_by_filter():
    with RetrievalEngine(_FakeRetriever(), PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        plain, filtered = engine.submit("a", k=1), engine.submit("b", k=2, doc_ids=["d2", "d1"])
        assert [hit.doc_id for hit in plain.result(5).hits] == ["a/0/[]"]
        assert [hit.doc_id for hit in filtered.result(5).hits] == ["b/0/['d1', 'd2']", "b/1/['d1', 'd2']"]
        by_metadata = engine.submit("c", k=1, filter={"must": [{"field": "n", "operator": "<", "value": 3}]})
        assert [hit.doc_id for hit in by_metadata.result(5).hits] == ["c/0/[]n < 3"]


def test_a_search_of_another_kind_is_refused():
    with pytest.raises(QueryError, match="got a dict to search with; expected a Retriever"):
        RetrievalEngine({}, PROFILE)


def test_importing_the_engine_imports_nothing_heavy():
    code = "import sys, elasticdenser.engine; assert not {'numpy', 'torch', 'msgspec'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in elasticdenser.engine.__all__:
        assert getattr(elasticdenser.engine, name).__name__ == name


class _ShorteningSearch(FakeSearch):
    """A fake search that reads only the first four characters of a query."""

    def shorten(self, text):
        return text[:4]


def test_long_queries_are_shortened_where_they_are_submitted():
    search = _ShorteningSearch()
    with RetrievalEngine(search, PROFILE, slo_s=LONG_DEADLINE_S, workers=1) as engine:
        assert engine.submit("long " * 1_000_000, k=1).result(5).hits == ["long/0"]
        assert engine.ask("long ones", k=1).hits == ["long/0"]
        assert [answer.hits for answer in engine.search_many(["longest", "dune"], k=1)] == [["long/0"], ["dune/0"]]
    assert {text for texts, _ in search.batches for text in texts} == {"long", "dune"}
