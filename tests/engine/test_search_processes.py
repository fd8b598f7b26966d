"""Searching in processes: the same hits as in threads, and processes that fail, die, or cannot start."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
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
    return Retriever.open(folder, encoder=str(tiny_elastic), device="cpu")


@pytest.fixture
def make(retriever):
    """Make a search, of one process unless told otherwise; it is closed at the end."""
    made = []

    def start(retriever=retriever, processes=1, **options):
        made.append(ProcessSearch(retriever, RECALLS, processes, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def search(make):
    made = make()
    made.wait()
    return made


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes._PAUSE_S", 0.05)


class Elsewhere:
    """Keeps the calling thread's place taken, so that what is asked meanwhile goes to a process."""

    def __init__(self, search: ProcessSearch) -> None:
        self._search = search

    def __enter__(self) -> None:
        self._search._n_running += 1

    def __exit__(self, *_: object) -> None:
        self._search._n_running -= 1


class Asked(threading.Thread):
    """Asks in a thread; `outcome` is what it got or what was raised."""

    def __init__(self, search: ProcessSearch, queries: list[Query] = QUERIES) -> None:
        super().__init__(daemon=True)
        self._search, self._queries = search, queries
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._search.search_batch(self._queries, "level0")
        except Exception as error:
            self.outcome = error

    def got(self, seconds=20.0):
        self.join(seconds)
        return self.outcome


def opened_with(retriever, opener):
    """A retriever whose processes are opened in another way."""
    made = copy.copy(retriever)
    made.opener = opener
    return made


def the_process(search):
    (process,) = search._all
    return process._process


def stop(search):
    """Stop its process: what it is asked from now on it does not answer."""
    process = the_process(search)
    os.kill(process.pid, signal.SIGSTOP)
    return process


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


@pytest.mark.parametrize("kind", [np.str_, type("Text", (str,), {"__str__": lambda _: "another"})])
def test_strings_of_other_kinds_are_strings(search, kind):
    expected = search.search_batch([Query(text="dune", k=2, doc_ids=frozenset({"d7", "d8"}))], "level0")
    asked = Query(text=kind("dune"), k=np.int64(2), doc_ids=frozenset({kind("d7"), kind("d8")}))
    with Elsewhere(search):
        assert search.search_batch([asked], kind("level0")) == expected
    assert [hit.doc_id for hit in expected[0]] in (["d7", "d8"], ["d8", "d7"])


def test_a_process_that_dies_fails_its_batch_and_is_replaced(search):
    before = stop(search)
    asked = Asked(search)
    until(lambda: not search._free)
    before.kill()
    assert isinstance(asked.got(), WorkerError) and "died or hung" in str(asked.got())
    with Elsewhere(search):  # if there is none yet, the calling thread does it
        assert len(search.search_batch(QUERIES, "level0")) == 3
    until(lambda: search.n_alive == 1 and search.n_replaced == 1)
    assert the_process(search).pid != before.pid
    with Elsewhere(search):
        assert len(search.search_batch(QUERIES, "level0")) == 3


def test_one_that_dies_with_nothing_to_do_is_replaced_before_anybody_asks(search, caplog):
    the_process(search).kill()
    until(lambda: search.n_replaced == 1 and search.n_alive == 1)
    assert len(search._free) == len(search._all) == 1
    assert "has died or hung" in caplog.text
    with Elsewhere(search):
        assert len(search.search_batch(QUERIES, "level0")) == 3


def test_a_process_whose_answer_was_not_read_is_asked_no_more(search):
    (process,) = search._all

    def interrupted():
        raise KeyboardInterrupt

    process._channel.recv_bytes = interrupted
    with pytest.raises(KeyboardInterrupt):
        search.search_batch(QUERIES, "level0")
    until(lambda: search.n_replaced == 1 and search.n_alive == 1)
    expected = search._here.search_batch(QUERIES[1:], "level0")
    assert search.search_batch(QUERIES[1:], "level0") == expected


@pytest.mark.parametrize("n_filtered", [0, 100_000])
def test_a_process_that_hangs_is_killed(make, n_filtered):
    search = make(longest_s=0.2)  # its message fits into the connection's buffer, or does not
    search.wait()
    before = stop(search)
    doc_ids = frozenset(map(str, range(n_filtered))) or None
    asked = Asked(search, [Query(text="dune", doc_ids=doc_ids)] * 2)
    assert isinstance(asked.got(), WorkerError)
    until(lambda: before.poll() is not None and search.n_replaced == 1)


@pytest.mark.parametrize("longest_s", [0.001, float("inf")])
def test_any_limit_can_be_given(make, longest_s):
    search = make(longest_s=longest_s)
    search.wait()
    assert search.n_alive == 1


def test_signals_to_the_group_are_for_the_owner(make, capfd):
    search = make()
    until(lambda: search._all)
    for _ in range(20):  # from its very start
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(the_process(search).pid, number)
        time.sleep(0.01)
    search.wait()
    with Elsewhere(search):
        assert len(search.search_batch(QUERIES, "level0")) == 3
    assert search.n_replaced == 0 and capfd.readouterr() == ("", "")


def test_closing_ends_its_processes(make):
    search = make(processes=2)
    search.wait()
    processes = [one._process for one in search._all]
    search.close()
    assert len(processes) == 2 and all(one.poll() is not None for one in processes)
    assert search.n_alive == search.n_replaced == 0
    search.close()
    assert len(search.search_batch(QUERIES, "level0")) == 3


def test_closing_fails_what_is_being_searched(search):
    process = stop(search)
    asked = Asked(search)
    until(lambda: not search._free)
    search.close()
    assert isinstance(asked.got(5), WorkerError) and process.poll() is not None
    assert not search._free and not search._all
    assert len(search.search_batch(QUERIES, "level0")) == 3


def test_closing_does_not_wait_for_those_that_start(make, retriever):
    search = make(opened_with(retriever, partial(time.sleep, 60)), processes=2)
    waiting = threading.Thread(target=search.wait, daemon=True)
    waiting.start()
    until(lambda: len(search._all) == 2)
    processes = [one._process for one in search._all]
    search.close()
    waiting.join(5)
    assert not waiting.is_alive() and all(one.poll() is not None for one in processes)


def test_closing_at_once(make):
    search = make(processes=2)
    search.close()
    search.wait()
    assert not search._all and not any(one.is_alive() for one in search._keepers)


def test_closing_does_not_wait_for_a_pause(make, retriever, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes._PAUSE_S", 60.0)
    search = make(opened_with(retriever, partial(int, "no number")))
    with pytest.raises(WorkerError, match="no number"):
        search.wait()
    search.close()
    assert not any(one.is_alive() for one in search._keepers)


def test_processes_that_cannot_start_are_told_of_and_tried_again(make, folder, tiny_elastic, tmp_path, quick_pauses):
    place = tmp_path / "moved"
    place.symlink_to(folder)
    opened = Retriever.open(place, encoder=str(tiny_elastic), device="cpu")
    place.unlink()
    search = make(opened)
    with pytest.raises(WorkerError, match=f"no search process could start.*{place}"):
        search.wait()
    assert len(search.search_batch(QUERIES, "level0")) == 3  # it goes on without
    place.symlink_to(folder)
    until(lambda: search.n_alive == 1)
    search.wait()
    assert search.n_replaced == 0


def test_the_operating_system_gives_no_process(make, monkeypatch, caplog, quick_pauses):
    popen, refusals = subprocess.Popen, iter([True])

    def scarce(*args, **options):
        if next(refusals, False):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*args, **options)

    monkeypatch.setattr("elasticdenser.engine.asked_process.subprocess.Popen", scarce)
    search = make(processes=2)
    search.wait()  # one is enough
    assert caplog.messages == [
        "a search process could not start ([Errno 11] Resource temporarily unavailable): trying again in 0.05 s"
    ]
    until(lambda: search.n_alive == 2)
    refusals = repeat(True)
    search = make(processes=2)
    with pytest.raises(WorkerError, match=r"could start: .*temporarily unavailable"):
        search.wait()
    until(lambda: "trying again in 0.1 s" in caplog.text)


def test_the_import_path_may_hold_anything(make, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/tmp")])
    search = make()
    search.wait()
    assert search.n_alive == 1


def test_what_a_process_prints_is_not_the_owners_output(make, retriever, capfd):
    with pytest.raises(WorkerError):
        make(opened_with(retriever, partial(print, "how are you?"))).wait()
    out, err = capfd.readouterr()
    assert out == "" and "how are you?" in err


def test_parts_cannot_be_opened_again(retriever):
    with pytest.raises(QueryError, match=r"Retriever\.open"):
        ProcessSearch(Retriever(retriever.encoder, retriever.index), RECALLS, 1)


def test_an_index_made_anew_is_not_searched(
    make, folder, retriever, tmp_path, tiny_encoder, tiny_elastic, quick_pauses
):
    place = tmp_path / "place"
    place.symlink_to(folder)
    owner = Retriever.open(place, encoder=str(tiny_elastic), device="cpu")
    corpus = tmp_path / "others.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": f"water {n}"}) + "\n" for n in range(100)))
    PassageIndex.build(corpus, tmp_path / "another", tiny_encoder, workers=1)
    place.unlink()
    place.symlink_to(tmp_path / "another")
    with pytest.raises(WorkerError, match="made anew"):
        make(owner).wait()


def test_who_gains(retriever, monkeypatch):
    def gain(cpus=2, dtype="int8", platform="linux"):
        with monkeypatch.context() as patched:
            patched.setattr("elasticdenser.engine.processes.cpu_count", lambda: cpus)
            patched.setattr(type(retriever.encoder), "fingerprint", SimpleNamespace(dtype=dtype))
            patched.setattr(sys, "platform", platform)
            return gain_by_processes(retriever)

    assert gain()
    assert not (gain(cpus=1) or gain(dtype="float32") or gain(platform="win32"))


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
        assert (engine.snapshot().processes, engine.snapshot().replaced_processes) == (2, 0)
    assert [[hit.doc_id for hit in answer.hits] for answer in answers] == [
        [hit.doc_id for hit in retriever.search(text, k=3, subnet=answer.level)]
        for text, answer in zip(texts, answers, strict=True)
    ]
    assert len(processes) == 2 and all(one.poll() is not None for one in processes)


def test_the_engine_goes_on_when_all_processes_are_killed(retriever):
    with RetrievalEngine(retriever, profile(), slo_s=30.0, workers=2, processes=True) as engine:
        engine.warm_up()
        for one in list(engine._processes._all):
            one.kill()
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


@pytest.fixture
def run_script(folder, tiny_elastic, tmp_path):
    """Run a script that has an engine with two processes."""

    def run(*lines):
        script = tmp_path / "script.py"
        script.write_text(f"""
import os
from elasticdenser import Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.profile import Level, Profile
retriever = Retriever.open({str(folder)!r}, encoder={str(tiny_elastic)!r}, device="cpu")
levels = [Level(name="level0", quality=1.0, measured_s={{1: 0.001}})]
with RetrievalEngine(retriever, Profile(levels=levels), slo_s=20.0, workers=2, processes=True) as engine:
    engine.warm_up()
    {"; ".join(lines)}
""")
        return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)

    return run


def test_a_script_without_a_main_guard_can_use_them(run_script):
    done = run_script('print(len(engine.search_many(["dune"] * 5, k=2)))')
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


def test_they_end_when_their_owner_is_killed(run_script):
    done = run_script(
        "print(*(one._process.pid for one in engine._processes._all), flush=True)", "os.kill(os.getpid(), 9)"
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2 and done.returncode == -9
    until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
