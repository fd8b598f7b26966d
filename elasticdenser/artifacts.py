"""Files that are either whole or absent: atomic writes, checksums, and refusals of the disk in plain words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from elasticdenser.errors import BadInputError, BuildError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ELSEWHERE = "choose another place with -o"
_WAYS_OUT = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "a file-size limit was reached: raise it (ulimit -f), then run the same command again",
    errno.EIO: f"the disk reports an error: check it, or {_ELSEWHERE}",
    errno.EROFS: f"the file system is read-only: {_ELSEWHERE}",
    errno.EACCES: f"no permission to write there: {_ELSEWHERE}",
    errno.EPERM: f"no permission to write there: {_ELSEWHERE}",
    errno.ENOTDIR: f"a part of this path is a file, not a folder: {_ELSEWHERE}",
    errno.EISDIR: f"a folder of that name stands in the way: {_ELSEWHERE}",
    errno.EEXIST: f"something of that name stands in the way: {_ELSEWHERE}",
    errno.ENOTEMPTY: f"a folder of that name stands in the way: {_ELSEWHERE}",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one with -o",
    errno.ELOOP: f"its links lead in a circle: {_ELSEWHERE}",
    errno.EBUSY: f"something else uses it: {_ELSEWHERE}",
    errno.ENOLCK: f"the file system has no locks: {_ELSEWHERE}",
    errno.EOPNOTSUPP: f"the file system cannot do that: {_ELSEWHERE}",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), then run the same command again",
}


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its place only when the block ends without an error.

    Args:
        path: The file to write; its folder must exist.
        mode: `w` (UTF-8 text) or `wb`.

    Raises:
        BuildError: The disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with explained_os_errors(path):
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                flush_to_disk(file)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def flush_to_disk(file: IO[Any]) -> None:
    """Flush `file` and wait until the operating system has it on disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into errors that name the path and the way out."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0)
        if way_out is None:
            raise
        raise BuildError(f"cannot write {error.filename or path}: {way_out}") from error


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def check_name(what: str, name: str) -> None:
    """Refuse a name that cannot be part of a file name and a column of a run.

    Raises:
        BadInputError: It holds something else than letters, digits and a few signs.
    """
    if not _NAME.fullmatch(name):
        message = "cannot be part of a file name: use letters, digits, '.', '_', '-' and '+'"
        raise BadInputError(f"the name {name!r} of a {what} {message}")
