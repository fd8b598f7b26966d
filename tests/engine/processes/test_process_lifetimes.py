"""Worker processes that start, die, hang, cannot start, and end."""

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
from process_helpers import QUERIES, make_profile, search_in_process
from waiting import wait_until

from elasticdenser import PassageIndex, Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.pool import ProcessPoolSearch
from elasticdenser.engine.request import Query


@pytest.fixture
def quick_pauses(monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes.pool._MIN_RETRY_S", 0.05)


class SearchThread(threading.Thread):
    """Searches in a thread; `outcome` is the result or the error."""

    def __init__(self, pool: ProcessPoolSearch, queries: list[Query] = QUERIES) -> None:
        super().__init__(daemon=True)
        self._pool, self._queries = pool, queries
        self.start()

    def run(self) -> None:
        try:
            self.outcome = search_in_process(self._pool, self._queries)
        except Exception as error:
            self.outcome = error

    def result(self, timeout_s=20.0):
        self.join(timeout_s)
        return self.outcome


def opened_with(retriever, opener):
    """Return a retriever whose worker processes call another opener."""
    changed = copy.copy(retriever)
    changed.opener = opener
    return changed


def process_of(pool):
    (process,) = pool._processes
    return process._process


def stop(pool):
    """Stop the pool's process, so that it does not reply any more."""
    process = process_of(pool)
    os.kill(process.pid, signal.SIGSTOP)
    return process


@pytest.mark.slow
def test_a_process_that_dies_fails_its_batch_and_is_replaced(pool):
    before = stop(pool)
    searching = SearchThread(pool)
    wait_until(lambda: not pool._idle)
    before.kill()
    assert isinstance(searching.result(), WorkerError) and "died or hung" in str(searching.result())
    # the calling thread searches while no process is ready
    assert len(search_in_process(pool, QUERIES)) == 3
    wait_until(lambda: pool.n_alive == 1 and pool.n_replaced == 1)
    assert process_of(pool).pid != before.pid
    assert len(search_in_process(pool, QUERIES)) == 3


@pytest.mark.slow
def test_an_idle_process_that_dies_is_replaced_before_the_next_batch(pool, caplog):
    process_of(pool).kill()
    wait_until(lambda: pool.n_replaced == 1 and pool.n_alive == 1)
    assert len(pool._idle) == len(pool._processes) == 1
    assert "has died or hung" in caplog.text
    assert len(search_in_process(pool, QUERIES)) == 3


@pytest.mark.slow
def test_a_process_whose_reply_was_not_read_is_not_used_again(pool):
    (process,) = pool._processes

    def interrupted():
        raise KeyboardInterrupt

    process._connection.recv_bytes = interrupted
    with pytest.raises(KeyboardInterrupt):
        search_in_process(pool, QUERIES)
    wait_until(lambda: pool.n_replaced == 1 and pool.n_alive == 1)
    expected = pool.search_batch(QUERIES[1:], "level0")
    assert search_in_process(pool, QUERIES[1:]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("n_filtered", [0, 100_000])
def test_a_process_that_hangs_is_killed(make_pool, n_filtered):
    pool = make_pool(timeout_s=0.2)  # its message fits into the connection's buffer, or does not
    pool.wait_until_ready()
    before = stop(pool)
    doc_ids = frozenset(map(str, range(n_filtered))) or None
    searching = SearchThread(pool, [Query(text="dune", doc_ids=doc_ids)] * 2)
    assert isinstance(searching.result(), WorkerError)
    wait_until(lambda: before.poll() is not None and pool.n_replaced == 1)


@pytest.mark.slow
@pytest.mark.parametrize("timeout_s", [0.001, float("inf")])
def test_any_timeout_can_be_given(make_pool, timeout_s):
    pool = make_pool(timeout_s=timeout_s)
    pool.wait_until_ready()
    assert pool.n_alive == 1


@pytest.mark.slow
def test_signals_to_the_process_group_are_left_to_the_owner(make_pool, capfd):
    pool = make_pool()
    wait_until(lambda: pool._processes)
    for _ in range(20):  # from its very start
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(process_of(pool).pid, number)
        time.sleep(0.01)
    pool.wait_until_ready()
    assert len(search_in_process(pool, QUERIES)) == 3
    assert pool.n_replaced == 0 and capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_closing_ends_its_processes(make_pool):
    pool = make_pool(processes=2)
    pool.wait_until_ready()
    processes = [process._process for process in pool._processes]
    pool.close()
    assert len(processes) == 2 and all(process.poll() is not None for process in processes)
    assert pool.n_alive == pool.n_replaced == 0
    pool.close()
    assert len(search_in_process(pool, QUERIES)) == 3


def test_closing_fails_running_batches(pool):
    process = stop(pool)
    searching = SearchThread(pool)
    wait_until(lambda: not pool._idle)
    pool.close()
    assert isinstance(searching.result(5), WorkerError) and process.poll() is not None
    assert not pool._idle and not pool._processes
    assert len(search_in_process(pool, QUERIES)) == 3


def test_closing_does_not_wait_for_processes_that_start(make_pool, retriever):
    pool = make_pool(opened_with(retriever, partial(time.sleep, 60)), processes=2)
    waiting = threading.Thread(target=pool.wait_until_ready, daemon=True)
    waiting.start()
    wait_until(lambda: len(pool._processes) == 2)
    processes = [process._process for process in pool._processes]
    pool.close()
    waiting.join(5)
    assert not waiting.is_alive() and all(process.poll() is not None for process in processes)


def test_a_pool_can_be_closed_before_its_processes_start(make_pool):
    pool = make_pool(processes=2)
    pool.close()
    pool.wait_until_ready()
    assert not pool._processes and not any(thread.is_alive() for thread in pool._supervisors)


@pytest.mark.slow
def test_closing_does_not_wait_for_a_pause(make_pool, retriever, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.processes.pool._MIN_RETRY_S", 60.0)
    pool = make_pool(opened_with(retriever, partial(int, "no number")))
    with pytest.raises(WorkerError, match="no number"):
        pool.wait_until_ready()
    pool.close()
    assert not any(thread.is_alive() for thread in pool._supervisors)


@pytest.mark.slow
def test_processes_that_cannot_start_are_reported_and_tried_again(
    make_pool, searched_index, tiny_elastic, tmp_path, quick_pauses
):
    link = tmp_path / "moved"
    link.symlink_to(searched_index)
    opened = Retriever.open(link, encoder=str(tiny_elastic), device="cpu")
    link.unlink()
    pool = make_pool(opened)
    with pytest.raises(WorkerError, match=f"no worker process could start.*{link}"):
        pool.wait_until_ready()
    assert len(search_in_process(pool, QUERIES)) == 3  # the calling thread searches
    link.symlink_to(searched_index)
    wait_until(lambda: pool.n_alive == 1)
    pool.wait_until_ready()
    assert pool.n_replaced == 0


@pytest.mark.slow
def test_a_process_that_the_operating_system_refuses_is_tried_again(make_pool, monkeypatch, caplog, quick_pauses):
    popen, refusals = subprocess.Popen, iter([True])

    def scarce(*args, **options):
        if next(refusals, False):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return popen(*args, **options)

    monkeypatch.setattr("elasticdenser.engine.processes.worker_process.subprocess.Popen", scarce)
    pool = make_pool(processes=2)
    pool.wait_until_ready()  # one is enough
    assert caplog.messages == [
        "a worker process could not start ([Errno 11] Resource temporarily unavailable): trying again in 0.05 s"
    ]
    wait_until(lambda: pool.n_alive == 2)
    refusals = repeat(True)
    pool = make_pool(processes=2)
    with pytest.raises(WorkerError, match=r"could start: .*temporarily unavailable"):
        pool.wait_until_ready()
    wait_until(lambda: "trying again in 0.1 s" in caplog.text)


@pytest.mark.slow
def test_the_import_path_may_hold_anything(make_pool, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/tmp")])
    pool = make_pool()
    pool.wait_until_ready()
    assert pool.n_alive == 1


@pytest.mark.slow
def test_output_of_a_process_does_not_mix_with_the_owners(make_pool, retriever, capfd):
    with pytest.raises(WorkerError):
        make_pool(opened_with(retriever, partial(print, "how are you?"))).wait_until_ready()
    out, err = capfd.readouterr()
    assert out == "" and "how are you?" in err


@pytest.mark.slow
def test_a_rebuilt_index_is_not_searched(
    make_pool, searched_index, retriever, tmp_path, tiny_encoder, tiny_elastic, quick_pauses
):
    link = tmp_path / "link"
    link.symlink_to(searched_index)
    owner = Retriever.open(link, encoder=str(tiny_elastic), device="cpu")
    corpus = tmp_path / "others.jsonl"
    corpus.write_text("".join(json.dumps({"_id": f"d{n}", "text": f"water {n}"}) + "\n" for n in range(100)))
    PassageIndex.build(corpus, tmp_path / "another", tiny_encoder, workers=1)
    link.unlink()
    link.symlink_to(tmp_path / "another")
    with pytest.raises(WorkerError, match="rebuilt"):
        make_pool(owner).wait_until_ready()


@pytest.mark.slow
def test_processes_that_die_after_the_index_was_replaced_are_reported(
    make_pool, searched_index, tmp_path, tiny_encoder, tiny_elastic, quick_pauses, caplog
):
    link = tmp_path / "link"
    link.symlink_to(searched_index)
    pool = make_pool(Retriever.open(link, encoder=str(tiny_elastic), device="cpu"), processes=2)
    pool.wait_until_ready()
    assert pool.failure is pool.lost_index is None
    corpus = tmp_path / "others.jsonl"
    corpus.write_text('{"_id": "d1", "text": "water"}\n')
    other = PassageIndex.build(corpus, tmp_path / "another", tiny_encoder, workers=1)
    link.unlink()
    link.symlink_to(other.path)
    first, second = (process._process for process in pool._processes)
    first.kill()
    wait_until(lambda: pool.lost_index is not None)
    searched, found = PassageIndex.open(searched_index).manifest.created, other.manifest.created
    assert f"searched is the one made at {searched}" in pool.lost_index and f"one made at {found}" in pool.lost_index
    assert "rebuilt or replaced" in pool.lost_index and "restart the server" in pool.lost_index
    assert (pool.failure, pool.n_alive) == (None, 1)
    assert len(search_in_process(pool, QUERIES)) == 3
    second.kill()
    wait_until(lambda: pool.failure is not None)
    assert pool.failure == pool.lost_index
    assert len(search_in_process(pool, QUERIES)) == 3  # in the calling thread, in the index that was opened
    link.unlink()
    link.symlink_to(searched_index)
    wait_until(lambda: pool.n_alive == 2)
    assert pool.failure is pool.lost_index is None
    warnings = [record.getMessage() for record in caplog.records if "are not replaced" in record.getMessage()]
    assert len(warnings) == 1 and "1 are left" in warnings[0]


@pytest.mark.slow
def test_the_engine_goes_on_when_all_processes_are_killed(retriever):
    with RetrievalEngine(retriever, make_profile(), slo_s=30.0, workers=2, processes=True) as engine:
        engine.warm_up()
        for process in list(engine._process_pool._processes):
            process.kill()
        statuses = []

        def ask():
            for number in range(20):
                try:
                    engine.submit(f"{threading.get_ident()} {number}").result(20)
                    statuses.append("answered")
                except WorkerError:
                    statuses.append("failed")

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(statuses) == 80
    # Each process may have failed one batch, of at most one query of each thread.
    assert statuses.count("failed") <= 8 and statuses.count("answered") >= 72


@pytest.fixture
def run_script(searched_index, tiny_elastic, tmp_path):
    """Return a function that runs a script with an engine of two processes."""

    def run(*lines):
        script = tmp_path / "script.py"
        script.write_text(f"""
import os
from elasticdenser import Retriever
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
retriever = Retriever.open({str(searched_index)!r}, encoder={str(tiny_elastic)!r}, device="cpu")
levels = [Level(name="level0", quality=1.0, measured_s={{1: 0.001}})]
with RetrievalEngine(retriever, Profile(levels=levels), slo_s=20.0, workers=2, processes=True) as engine:
    engine.warm_up()
    {"; ".join(lines)}
""")
        return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)

    return run


@pytest.mark.slow
def test_a_script_without_a_main_guard_can_use_processes(run_script):
    done = run_script('print(len(engine.search_many(["dune"] * 5, k=2)))')
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


@pytest.mark.slow
def test_processes_end_when_their_owner_is_killed(run_script):
    done = run_script(
        "print(*(process._process.pid for process in engine._process_pool._processes), flush=True)",
        "os.kill(os.getpid(), 9)",
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2 and done.returncode == -9
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
