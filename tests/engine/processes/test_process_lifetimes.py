"""Search processes that start, die, hang, cannot start, and end."""

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

import pytest
from engine_helpers import until
from process_helpers import QUERIES, profile

from elasticdenser import PassageIndex, Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.pool import ProcessPoolSearch
from elasticdenser.engine.request import Query


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes.pool._PAUSE_S", 0.05)


class Asked(threading.Thread):
    """Asks in a thread; `outcome` is what it got or what was raised."""

    def __init__(self, search: ProcessPoolSearch, queries: list[Query] = QUERIES) -> None:
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


def test_a_process_that_dies_fails_its_batch_and_is_replaced(search):
    before = stop(search)
    asked = Asked(search)
    until(lambda: not search._free)
    before.kill()
    assert isinstance(asked.got(), WorkerError) and "died or hung" in str(asked.got())
    # if there is none yet, the calling thread does it
    assert len(search.search_batch(QUERIES, "level0")) == 3
    until(lambda: search.n_alive == 1 and search.n_replaced == 1)
    assert the_process(search).pid != before.pid
    assert len(search.search_batch(QUERIES, "level0")) == 3


def test_one_that_dies_with_nothing_to_do_is_replaced_before_anybody_asks(search, caplog):
    the_process(search).kill()
    until(lambda: search.n_replaced == 1 and search.n_alive == 1)
    assert len(search._free) == len(search._all) == 1
    assert "has died or hung" in caplog.text
    assert len(search.search_batch(QUERIES, "level0")) == 3


def test_a_process_whose_answer_was_not_read_is_asked_no_more(search):
    (process,) = search._all

    def interrupted():
        raise KeyboardInterrupt

    process._channel.recv_bytes = interrupted
    with pytest.raises(KeyboardInterrupt):
        search.search_batch(QUERIES, "level0")
    until(lambda: search.n_replaced == 1 and search.n_alive == 1)
    expected = search.here.search_batch(QUERIES[1:], "level0")
    assert search.search_batch(QUERIES[1:], "level0") == expected


@pytest.mark.parametrize("n_filtered", [0, 100_000])
def test_a_process_that_hangs_is_killed(make, n_filtered):
    search = make(timeout_s=0.2)  # its message fits into the connection's buffer, or does not
    search.wait()
    before = stop(search)
    doc_ids = frozenset(map(str, range(n_filtered))) or None
    asked = Asked(search, [Query(text="dune", doc_ids=doc_ids)] * 2)
    assert isinstance(asked.got(), WorkerError)
    until(lambda: before.poll() is not None and search.n_replaced == 1)


@pytest.mark.parametrize("timeout_s", [0.001, float("inf")])
def test_any_limit_can_be_given(make, timeout_s):
    search = make(timeout_s=timeout_s)
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
    monkeypatch.setattr("elasticdenser.engine.processes.pool._PAUSE_S", 60.0)
    search = make(opened_with(retriever, partial(int, "no number")))
    with pytest.raises(WorkerError, match="no number"):
        search.wait()
    search.close()
    assert not any(one.is_alive() for one in search._keepers)


def test_processes_that_cannot_start_are_told_of_and_tried_again(
    make, searched_index, tiny_elastic, tmp_path, quick_pauses
):
    place = tmp_path / "moved"
    place.symlink_to(searched_index)
    opened = Retriever.open(place, encoder=str(tiny_elastic), device="cpu")
    place.unlink()
    search = make(opened)
    with pytest.raises(WorkerError, match=f"no search process could start.*{place}"):
        search.wait()
    assert len(search.search_batch(QUERIES, "level0")) == 3  # it goes on without
    place.symlink_to(searched_index)
    until(lambda: search.n_alive == 1)
    search.wait()
    assert search.n_replaced == 0


def test_the_operating_system_gives_no_process(make, monkeypatch, caplog, quick_pauses):
    popen, refusals = subprocess.Popen, iter([True])

    def scarce(*args, **options):
        if next(refusals, False):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*args, **options)

    monkeypatch.setattr("elasticdenser.engine.processes.worker_process.subprocess.Popen", scarce)
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


def test_an_index_made_anew_is_not_searched(
    make, searched_index, retriever, tmp_path, tiny_encoder, tiny_elastic, quick_pauses
):
    place = tmp_path / "place"
    place.symlink_to(searched_index)
    owner = Retriever.open(place, encoder=str(tiny_elastic), device="cpu")
    corpus = tmp_path / "others.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": f"water {n}"}) + "\n" for n in range(100)))
    PassageIndex.build(corpus, tmp_path / "another", tiny_encoder, workers=1)
    place.unlink()
    place.symlink_to(tmp_path / "another")
    with pytest.raises(WorkerError, match="made anew"):
        make(owner).wait()


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
def run_script(searched_index, tiny_elastic, tmp_path):
    """Run a script that has an engine with two processes."""

    def run(*lines):
        script = tmp_path / "script.py"
        script.write_text(f"""
import os
from elasticdenser import Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.profiling.profile import Level, Profile
retriever = Retriever.open({str(searched_index)!r}, encoder={str(tiny_elastic)!r}, device="cpu")
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
