"""Files that are whole or absent."""

import errno
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from elasticdenser.artifacts import atomic_write, explained_os_errors, sha256_of, write_json
from elasticdenser.errors import BuildError


def test_file_takes_its_place_only_when_whole(tmp_path):
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
def test_refusals_of_the_disk_in_plain_words(tmp_path, number, what):
    with pytest.raises(BuildError, match=f"cannot write /there: .*{what}"), explained_os_errors(tmp_path):
        raise OSError(number, os.strerror(number), "/there")


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), explained_os_errors(tmp_path):
        (tmp_path / "absent").read_text()


def test_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"content" * 100_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content" * 100_000).hexdigest()
