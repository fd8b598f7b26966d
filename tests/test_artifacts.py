"""Files that are complete or absent."""

import errno
import hashlib
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elasticdenser import artifacts
from elasticdenser.artifacts import atomic_write, explained_os_errors, is_stream, replace_file, sha256_of, write_json
from elasticdenser.errors import BuildError


def test_a_file_is_replaced_only_when_complete(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write("new")
        _ = 1 / 0
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["file"])
    with atomic_write(path, "wb") as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["file"])


def test_writers_at_once_do_not_mix(tmp_path):
    def write(number):
        write_json(tmp_path / "file.json", [number] * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    values = json.loads((tmp_path / "file.json").read_text())
    assert len(values) == 1000
    assert len(set(values)) == 1
    assert os.listdir(tmp_path) == ["file.json"]


def test_rename_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(BuildError, match="a folder of that name is in the way"):
        write_json(tmp_path / "taken", 1)
    assert os.listdir(tmp_path) == ["taken"]


def test_errors_name_the_file_and_not_its_temporary_one(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "file"):
        with pytest.raises((BuildError, OSError)) as raised, atomic_write(path) as file:
            file.write("x")
        assert str(path) in str(raised.value) and ".tmp" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "the disk is full: free some space, then run the same command again"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only: choose another place with -o"),
        (errno.EACCES, "no permission"),
        (errno.EIO, "the disk reports an error"),
    ],
)
def test_errors_of_the_disk_become_messages_with_a_way_out(tmp_path, number, what):
    with pytest.raises(BuildError, match=f"cannot write /there: .*{what}"), explained_os_errors(tmp_path):
        raise OSError(number, os.strerror(number), "/there")


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), explained_os_errors(tmp_path):
        (tmp_path / "absent").read_text()


def test_the_sha256_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"content" * 100_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content" * 100_000).hexdigest()


def _in_background(read):
    pool = ThreadPoolExecutor(1)
    result = pool.submit(read)
    pool.shutdown(wait=False)
    return result


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("n_links", [0, 1, 2])
def test_a_fifo_is_written_to_and_stays(tmp_path, mode, n_links):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    content = _in_background(path.read_bytes)
    for number in range(n_links):
        link = tmp_path / f"link{number}"
        link.symlink_to(path)
        path = link
    before = sorted(os.listdir(tmp_path))
    with atomic_write(path, mode) as file:
        file.write("text" if mode == "w" else b"text")
    assert content.result(10) == b"text"
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_written_to_and_stays(tmp_path):
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        with open(tmp_path / "null", "wb"):
            pass
    except OSError as error:
        pytest.skip(f"no devices here: {error}")
    (tmp_path / "link").symlink_to("null")
    write_json(tmp_path / "link", [1] * 1000)
    assert stat.S_ISCHR((tmp_path / "null").lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_link_stays_and_the_file_it_leads_to_is_replaced(tmp_path, exists):
    folder = tmp_path / "other disk"
    folder.mkdir()
    if exists:
        (folder / "file").write_text("old")
    (tmp_path / "link").symlink_to(folder / "file")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "link") as file:
        file.write("half")
        _ = 1 / 0
    assert os.listdir(folder) == ["file"] * exists
    write_json(tmp_path / "link", 1)
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(folder) == ["file"]
    assert json.loads((folder / "file").read_text()) == 1


def test_links_that_form_a_cycle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BuildError, match="form a cycle"):
        write_json(tmp_path / "a", 1)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_an_open_file_is_continued_and_not_replaced(tmp_path):
    with open(tmp_path / "file", "w") as file:
        print("before", file=file, flush=True)
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{file.fileno()}")
        for path in (f"/proc/self/fd/{file.fileno()}", f"/dev/fd/{file.fileno()}", tmp_path / "link"):
            assert is_stream(path)
            write_json(path, 1)
        print("after", file=file)
    assert (tmp_path / "file").read_text().split() == ["before", "1", "1", "1", "after"]


def test_an_open_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("old")
    with open(tmp_path / "file") as file, pytest.raises(BuildError, match="not open for writing"):
        write_json(f"/dev/fd/{file.fileno()}", 1)
    assert (tmp_path / "file").read_text() == "old"


def test_a_finished_file_does_not_replace_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "finished").write_text("text")
    with pytest.raises(BuildError, match="not a regular file: choose another place"):
        replace_file(tmp_path / "finished", tmp_path / "fifo")
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


@pytest.mark.slow
def test_os_replace_is_called_in_one_place():
    package = Path(artifacts.__file__).parent
    calls = [
        path for path in package.rglob("*.py") if re.search(r"\bos\.replace\(|\.replace\(path\)", path.read_text())
    ]
    assert calls == [Path(artifacts.__file__)]
