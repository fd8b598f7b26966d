"""Disks that are full or read-only, and files that must not grow."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hashing import HashingEncoder, make_corpus, make_passages

from elasticdenser.errors import BuildError
from elasticdenser.index import PassageIndex, rebuild
from elasticdenser.index.exchange import export_index
from elasticdenser.index.layout import building_folder


@contextmanager
def mounted(folder, options):
    """Mount a small disk of memory, or skip the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def one_line(error):
    return "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("room_kb", [12, 60, 160, 280, 340, 420])
def test_a_build_continues_after_the_disk_was_full(tmp_path, hashing, small_windows, room_kb):
    """2,000 passages need about 500 kB; room is made after the failure."""
    with mounted(tmp_path / "disk", "size=1m") as disk:
        filler = disk / "filler"
        filler.write_bytes(b"x" * ((1024 - room_kb) * 1024))
        with pytest.raises(BuildError, match="the disk is full: free some space, then run the same command") as error:
            PassageIndex.build(make_corpus(2000), disk / "index", hashing, factory="HNSW4")
        assert one_line(error)
        assert not (disk / "index").exists()
        filler.unlink()
        index = PassageIndex.build(make_corpus(2000), disk / "index", hashing, factory="HNSW4")
        assert np.array_equal(index.vectors, HashingEncoder().encode([p.content for p in make_passages(2000)]))
        assert os.listdir(disk) == ["index"]


@pytest.mark.slow
def test_full_disk_leaves_the_old_index(tmp_path, hashing):
    with mounted(tmp_path / "disk", "size=256k") as disk:
        PassageIndex.build(make_corpus(500), disk / "index", hashing)
        with pytest.raises(BuildError, match="the disk is full"):
            PassageIndex.build(make_corpus(1500, "other"), disk / "index", hashing, overwrite=True)
        assert len(PassageIndex.open(disk / "index", check="all")) == 500
        with pytest.raises(BuildError, match="the disk is full"):
            rebuild(disk / "index", "HNSW64")
        with pytest.raises(BuildError, match="the disk is full"):
            export_index(PassageIndex.open(disk / "index"), disk / "out", factory="HNSW64")
        assert len(PassageIndex.open(disk / "index", check="all")) == 500
        assert sorted(os.listdir(disk)) == ["index", "index.building"]


def test_a_read_only_disk_is_refused_for_writing(tmp_path, hashing):
    with mounted(tmp_path / "disk", "size=1m") as disk:
        PassageIndex.build(make_corpus(50), disk / "index", hashing)
        (disk / "index" / ".checked.json").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert len(PassageIndex.open(disk / "index")) == 50
        for command in (
            lambda: PassageIndex.build(make_corpus(51), disk / "new", hashing),
            lambda: PassageIndex.build(make_corpus(51), disk / "index", hashing, overwrite=True),
            lambda: rebuild(disk / "index", "HNSW4"),
            lambda: export_index(PassageIndex.open(disk / "index"), disk / "out"),
        ):
            with pytest.raises(BuildError, match="read-only: choose another place with -o") as error:
                command()
            assert one_line(error)
        assert len(PassageIndex.open(disk / "index", check="all")) == 50


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path, hashing):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(BuildError, match="no permission to write there"):
        PassageIndex.build(make_corpus(5), closed / "index", hashing)


@pytest.mark.slow
def test_a_build_continues_after_a_limit_on_file_size(tmp_path):
    code = """if True:
        import resource, sys
        from hashing import HashingEncoder, make_corpus
        from elasticdenser.errors import BuildError
        from elasticdenser.index import PassageIndex
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            PassageIndex.build(make_corpus(2000), sys.argv[1], HashingEncoder())
        except BuildError as error:
            print(error)
    """
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    command = [sys.executable, "-c", code, str(tmp_path / "index")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert "a file-size limit was reached: raise it (ulimit -f)" in done.stdout, done.stderr
    assert building_folder(tmp_path / "index").is_dir()
    assert len(PassageIndex.build(make_corpus(2000), tmp_path / "index", HashingEncoder())) == 2000
