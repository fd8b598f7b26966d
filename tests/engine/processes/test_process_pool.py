"""Search in processes: the same hits and errors as in threads."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from process_helpers import QUERIES, RECALLS, make_profile, search_in_process
from waiting import wait_until

from elasticdenser import Retriever
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.messages import decode_reply, encode_error
from elasticdenser.engine.processes.pool import ProcessPoolSearch, should_use_processes
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError


@pytest.mark.slow
@pytest.mark.parametrize("level", RECALLS)
def test_a_process_finds_what_the_retriever_finds(pool, retriever, level):
    expected = RetrieverSearch(retriever, RECALLS).search_batch(QUERIES, level)
    alone = search_in_process(pool, QUERIES[:1], level)
    hits = search_in_process(pool, QUERIES, level)
    assert hits == expected and alone == expected[:1]
    assert [len(of_query) for of_query in hits] == [3, 5, 1]
    assert {str(hit.subnet) for of_query in hits for hit in of_query} == {level}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["dune", "desert planet " * 20, "desert planet " * 500, "x" * 999 + " dune" * 9])
def test_tokens_are_counted_as_the_encoder_does(pool, retriever, text):
    (expected,) = retriever.encoder.count_tokens([text])
    assert pool.count_tokens(text) == RetrieverSearch(retriever, RECALLS).count_tokens(text) == expected


@pytest.mark.slow
@pytest.mark.parametrize("text", ["desert planet " * 1_000_000, "x" * 2_000_000, " " * 2_000_000 + "novel"])
def test_a_huge_query_is_no_hang(retriever, text):
    with RetrievalEngine(retriever, make_profile(), slo_s=60, workers=1, processes=True) as engine:
        wait_until(lambda: engine.snapshot().processes == 1)
        hits = engine.submit(text, k=3).result(30).hits
        snapshot = engine.snapshot()
    assert [hit.doc_id for hit in hits] == [hit.doc_id for hit in retriever.search(text, 3)]
    assert (snapshot.replaced_workers, snapshot.replaced_processes) == (0, 0)


@pytest.mark.slow
def test_a_filter_goes_with_the_query(pool):
    ((hit,),) = search_in_process(pool, [Query(text="dune", k=9, doc_ids=frozenset({"d7"}))], "level0")
    assert hit.doc_id == "d7"
    with pytest.raises(QueryError, match=r"position 1: got the field 'section', but .* has no metadata"):
        search_in_process(pool, [Query(text="dune", filter="section = 'é'")], "level0")


@pytest.mark.slow
def test_errors_of_a_process_are_raised(pool):
    with pytest.raises(QueryError, match="document ids are not in the index"):
        search_in_process(pool, [Query(text="dune", doc_ids=frozenset({"nowhere"}))], "level0")
    assert search_in_process(pool, QUERIES[:1], "level0")
    assert pool.n_replaced == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.str_, type("Text", (str,), {"__str__": lambda _: "another"})])
def test_subclasses_of_str_are_sent_as_strings(pool, kind):
    expected = search_in_process(pool, [Query(text="dune", k=2, doc_ids=frozenset({"d7", "d8"}))], "level0")
    query = Query(text=kind("dune"), k=np.int64(2), doc_ids=frozenset({kind("d7"), kind("d8")}))
    assert search_in_process(pool, [query], kind("level0")) == expected
    assert [hit.doc_id for hit in expected[0]] in (["d7", "d8"], ["d8", "d7"])


def test_a_retriever_built_from_parts_is_refused(retriever):
    with pytest.raises(QueryError, match=r"Retriever\.open"):
        ProcessPoolSearch(Retriever(retriever.encoder, retriever.index), RECALLS, 1)


def test_processes_are_used_with_int8_and_several_cpus(retriever, monkeypatch):
    def uses_processes(cpus=2, dtype="int8", platform="linux"):
        with monkeypatch.context() as patched:
            patched.setattr("elasticdenser.engine.processes.pool.cpu_count", lambda: cpus)
            patched.setattr(type(retriever.encoder), "fingerprint", SimpleNamespace(dtype=dtype))
            patched.setattr(sys, "platform", platform)
            return should_use_processes(retriever)

    assert uses_processes()
    assert not (uses_processes(cpus=1) or uses_processes(dtype="float32") or uses_processes(platform="win32"))


@pytest.mark.slow
def test_the_engine_answers_with_processes(retriever):
    texts = [f"dune {number}" for number in range(200)]
    with RetrievalEngine(retriever, make_profile(), slo_s=10.0, workers=2, processes=True) as engine:
        engine.warm_up()
        answers = engine.search_many(texts, k=3)
        assert [hit.doc_id for hit in engine.ask(texts[7], 3).hits] == [hit.doc_id for hit in answers[7].hits]
        processes = [process._process for process in engine._process_pool._processes]
        assert (engine.snapshot().processes, engine.snapshot().replaced_processes) == (2, 0)
    assert [[hit.doc_id for hit in answer.hits] for answer in answers] == [
        [hit.doc_id for hit in retriever.search(text, k=3, subnet=answer.level)]
        for text, answer in zip(texts, answers, strict=True)
    ]
    assert len(processes) == 2 and all(process.poll() is not None for process in processes)


@pytest.mark.parametrize("error", [ValueError("no"), type("Local", (Exception,), {})("no")])
def test_the_traceback_of_a_process_goes_with_its_error(error):
    def fail():
        raise error

    try:
        fail()
    except Exception as caught:
        reply = encode_error(caught)
    with pytest.raises((ValueError, WorkerError), match="no") as received:
        decode_reply(reply)
    (note,) = received.value.__notes__
    assert note.startswith("In the worker process:\nTraceback") and "in fail" in note
