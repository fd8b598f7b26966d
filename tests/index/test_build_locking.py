"""One writer at a time, and replacements that neither a failure nor a kill can spoil."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hashing import assert_same, make_corpus

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex
from elasticdenser.index.layout import building_folder, lock_file, replaced_folder
from elasticdenser.index.locking import exclusive_lock

HERE = Path(__file__).parents[1] / "helpers"


def test_a_second_build_into_the_same_folder_is_refused_at_once(tmp_path, hashing, small_windows):
    refusals = []

    def progress(what, done, of):
        if what == "encoding":
            start = time.monotonic()
            with pytest.raises(BuildError, match=r"another process is writing to .*index: wait for it to end"):
                PassageIndex.build(make_corpus(60), tmp_path / "index", hashing)
            refusals.append(time.monotonic() - start)

    assert_same(PassageIndex.build(make_corpus(60), tmp_path / "index", hashing, progress=progress), 60)
    assert len(refusals) > 3
    assert max(refusals) < 1
    assert os.listdir(tmp_path) == ["index"]


def test_lock_left_behind_does_not_block(tmp_path, hashing):
    lock_file(tmp_path / "index").write_text("")
    PassageIndex.build(make_corpus(5), tmp_path / "index", hashing)
    assert os.listdir(tmp_path) == ["index"]


@pytest.mark.slow
def test_lock_is_never_held_twice(tmp_path):
    """Processes take turns while the lock file is removed and created again."""
    code = """if True:
        import os, sys, time
        from pathlib import Path
        from elasticdenser.errors import BuildError
        from elasticdenser.index.locking import exclusive_lock
        path, held, n_acquired = Path(sys.argv[1]), Path(sys.argv[1] + ".held"), 0
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                with exclusive_lock(path):
                    held.mkdir()
                    n_acquired += 1
                    held.rmdir()
            except BuildError:
                pass
        print(n_acquired)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "index")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(counts) > 0


def test_index_being_replaced_says_what_to_do(small_index, hashing):
    PassageIndex.build(make_corpus(25, "other"), small_index.with_name("other"), hashing)
    small_index.rename(replaced_folder(small_index))
    small_index.with_name("other").rename(building_folder(small_index))
    with pytest.raises(IndexFormatError, match=r"was being replaced.*run the same.*is in .*index.replaced"):
        PassageIndex.open(small_index)
    assert_same(PassageIndex.open(replaced_folder(small_index)), 60)
    with pytest.raises(BuildError, match="something else"):
        PassageIndex.build(make_corpus(7), small_index, hashing)
    assert_same(PassageIndex.open(small_index), 60)


def test_a_folder_with_the_name_of_a_replaced_index_is_refused(small_index, hashing):
    replaced_folder(small_index).mkdir()
    (replaced_folder(small_index) / "mine").write_text("mine")
    with pytest.raises(BuildError, match=r"index.replaced is not an index"):
        PassageIndex.build(make_corpus(7), small_index, hashing, overwrite=True)
    assert (replaced_folder(small_index) / "mine").exists()


def test_swap_that_fails_puts_the_old_one_back(small_index, hashing, monkeypatch):
    rename = os.rename

    def refusing(source, target):
        if Path(source) == building_folder(small_index):
            raise PermissionError(13, "Permission denied", str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    with pytest.raises(BuildError, match="no permission"):
        PassageIndex.build(make_corpus(25, "other"), small_index, hashing, overwrite=True)
    assert_same(PassageIndex.open(small_index), 60)
    monkeypatch.undo()
    hashing.n_encoded = 0
    assert_same(PassageIndex.build(make_corpus(25, "other"), small_index, hashing, overwrite=True), 25, "other")
    assert hashing.n_encoded == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("scenario", ["build", "overwrite", "rebuild", "build_hybrid", "rebuild_hybrid"])
def test_killed_between_any_two_file_operations(tmp_path, scenario):
    command = [sys.executable, str(HERE / "crashing_build.py"), str(tmp_path), scenario]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    _, n_kills, n_operations = done.stdout.split()
    assert int(n_kills) > 5 and int(n_operations) > 10


def kill_while_holding(path):
    """Kill a process that holds the lock of `path`."""
    code = (
        "import sys, time; from pathlib import Path; from elasticdenser.index.locking import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BuildError, match="another process"), exclusive_lock(path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_lock_of_a_killed_process_does_not_block(tmp_path, hashing):
    kill_while_holding(tmp_path / "index")
    assert lock_file(tmp_path / "index").exists()
    PassageIndex.build(make_corpus(5), tmp_path / "index", hashing)
