"""Searching in processes: the same hits as in threads, and processes that fail, die, or cannot start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from elasticdenser import PassageIndex, Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes import ProcessSearch, gain_by_processes
from elasticdenser.engine.profile import Level, Profile
from elasticdenser.engine.request import Query
from elasticdenser.engine.searching import RetrieverSearch
from elasticdenser.errors import QueryError

QUERIES = [Query(text=text, k=k) for text, k in (("desert planet", 3), ("read a file", 5), ("novel", 1))]
RECALLS = {"w1-d2": None, "level0": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_encoder):
    made = tmp_path_factory.mktemp("searched")
    words = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
    texts = [f"{a} and {b}" for a in words for b in words]
    corpus = made / "passages.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    PassageIndex.build(corpus, made / "index", tiny_encoder, workers=1)
    return made / "index"


@pytest.fixture(scope="module")
def retriever(folder, tiny_elastic):
    return Retriever.open(folder, encoder=str(tiny_elastic), dtype="float32", device="cpu")


@pytest.fixture
def search(retriever):
    made = ProcessSearch(retriever, RECALLS, 1)
    made.wait()
    yield made
    made.close()


class Elsewhere:
    """Keeps the calling thread's place taken, so that what is asked meanwhile goes to a process."""

    def __init__(self, search: ProcessSearch) -> None:
        self._search = search

    def __enter__(self) -> None:
        self._search._n_running += 1

    def __exit__(self, *_: object) -> None:
        self._search._n_running -= 1


def the_process(search):
    (process,) = search._all
    return process._process


def until(is_so, seconds=20.0):
    end_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end_s, "it never became so"
        time.sleep(0.01)


@pytest.mark.parametrize("level", RECALLS)
def test_a_process_finds_what_the_retriever_finds(search, retriever, level):
    expected = RetrieverSearch(retriever, RECALLS).search_batch(QUERIES, level)
    alone = search.search_batch(QUERIES[:1], level)
    found = search.search_batch(QUERIES, level)
    assert found == expected and alone == expected[:1]
    assert [len(hits) for hits in found] == [3, 5, 1]
    assert {str(hit.subnet) for hits in found for hit in hits} == {level}


def test_a_filter_goes_with_the_query(search):
    with Elsewhere(search):
        ((hit,),) = search.search_batch([Query(text="dune", k=9, doc_ids=frozenset({"d7"}))], "level0")
    assert hit.doc_id == "d7"


def test_what_a_process_raises_is_raised(search):
    with Elsewhere(search), pytest.raises(QueryError, match="document ids are not in the index"):
        search.search_batch([Query(text="dune", doc_ids=frozenset({"nowhere"}))], "level0")
    with Elsewhere(search):
        assert search.search_batch(QUERIES[:1], "level0")
    assert search.n_replaced == 0


def test_a_process_that_dies_fails_its_batch_and_is_replaced(search):
    before = the_process(search)
    before.kill()
    before.wait()
    with Elsewhere(search), pytest.raises(WorkerError, match="died or hung"):
        search.search_batch(QUERIES, "level0")
    with Elsewhere(search):  # there is none now: the calling thread does it
        assert len(search.search_batch(QUERIES, "level0")) == 3
    until(lambda: len(search._free) == 1)
    assert search.n_replaced == 1 and the_process(search).pid != before.pid
    with Elsewhere(search):
        assert len(search.search_batch(QUERIES, "level0")) == 3


def test_a_process_that_hangs_is_killed(search, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes._HANG_S", 0.2)
    before = the_process(search)
    os.kill(before.pid, signal.SIGSTOP)
    with Elsewhere(search), pytest.raises(WorkerError, match="died or hung"):
        search.search_batch(QUERIES, "level0")
    assert before.poll() is not None


def test_it_ends_with_its_owner(retriever):
    search = ProcessSearch(retriever, RECALLS, 2)
    search.wait()
    processes = [one._process for one in search._all]
    search.close()
    assert len(processes) == 2 and all(one.poll() is not None for one in processes)
    search.close()


def test_closing_does_not_wait_for_those_that_start(retriever):
    search = ProcessSearch(retriever, RECALLS, 1)
    started = time.monotonic()
    search.close()
    for one in search._starting:
        assert one.wait(20)
    assert search._all == set() and not search._free
    assert time.monotonic() - started < 10


def test_a_process_that_cannot_start_is_told_of(folder, tiny_elastic, tmp_path):
    place = tmp_path / "moved"
    place.symlink_to(folder)
    search = ProcessSearch(Retriever.open(place, encoder=str(tiny_elastic), device="cpu"), RECALLS, 0)
    place.unlink()
    search._starting = [search._start_another()]
    with pytest.raises(WorkerError, match=f"could not start.*{place}"):
        search.wait()
    assert len(search.search_batch(QUERIES, "level0")) == 3  # it goes on without
    search.close()


def test_parts_cannot_be_opened_again(retriever):
    with pytest.raises(QueryError, match=r"Retriever\.open"):
        ProcessSearch(Retriever(retriever.encoder, retriever.index), RECALLS, 1)


def test_who_gains(retriever, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes.cpu_count", lambda: 2)
    assert not gain_by_processes(retriever)  # torch computes
    monkeypatch.setattr(type(retriever.encoder), "fingerprint", SimpleNamespace(dtype="int8"))
    assert gain_by_processes(retriever)
    monkeypatch.setattr("elasticdenser.engine.processes.cpu_count", lambda: 1)
    assert not gain_by_processes(retriever)


def profile():
    return Profile(
        levels=[
            Level(name="w1-d2", quality=1.0, measured_s={1: 0.003}),
            Level(name="level0", quality=0.8, measured_s={1: 0.001}),
        ]
    )


def test_the_engine_answers_with_processes(retriever):
    texts = [f"dune {number}" for number in range(200)]
    with RetrievalEngine(retriever, profile(), slo_s=10.0, workers=2, processes=True) as engine:
        engine.warm_up()
        answers = engine.search_many(texts, k=3)
        processes = [one._process for one in engine._processes._all]
    assert [[hit.doc_id for hit in answer.hits] for answer in answers] == [
        [hit.doc_id for hit in retriever.search(text, k=3, subnet=answer.level)]
        for text, answer in zip(texts, answers, strict=True)
    ]
    assert len(processes) == 2 and all(one.poll() is not None for one in processes)


def test_the_engine_goes_on_when_all_processes_are_killed(retriever):
    with RetrievalEngine(retriever, profile(), slo_s=30.0, workers=2, processes=True) as engine:
        engine.warm_up()
        for one in list(engine._processes._all):
            one._process.kill()
        statuses = []

        def ask():
            for number in range(20):
                try:
                    engine.submit(f"{threading.get_ident()} {number}").result(20)
                    statuses.append("answered")
                except WorkerError:
                    statuses.append("failed")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert len(statuses) == 80
    # Each process may have failed one batch, of at most one query of each thread.
    assert statuses.count("failed") <= 8 and statuses.count("answered") >= 72


def test_a_script_without_a_main_guard_can_use_them(folder, tiny_elastic, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
from elasticdenser import Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.profile import Level, Profile
retriever = Retriever.open({str(folder)!r}, encoder={str(tiny_elastic)!r}, device="cpu")
levels = [Level(name="level0", quality=1.0, measured_s={{1: 0.001}})]
with RetrievalEngine(retriever, Profile(levels=levels), slo_s=20.0, workers=2, processes=True) as engine:
    engine.warm_up()
    print(len(engine.search_many(["dune"] * 5, k=2)))
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("5\n", "")
