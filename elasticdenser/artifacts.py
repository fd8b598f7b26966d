"""Atomic writes, checksums, and clear messages where the disk refuses."""

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
_CHOOSE_ANOTHER_PLACE = "choose another place with -o"
_WAY_OUT_BY_ERRNO = {
    errno.ENOSPC: "the disk is full: free some space, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space, then run the same command again",
    errno.EFBIG: "a file-size limit was reached: raise it (ulimit -f), then run the same command again",
    errno.EIO: f"the disk reports an error: check it, or {_CHOOSE_ANOTHER_PLACE}",
    errno.EROFS: f"the file system is read-only: {_CHOOSE_ANOTHER_PLACE}",
    errno.EACCES: f"no permission to write there: {_CHOOSE_ANOTHER_PLACE}",
    errno.EPERM: f"no permission to write there: {_CHOOSE_ANOTHER_PLACE}",
    errno.ENOTDIR: f"a part of this path is a file, not a folder: {_CHOOSE_ANOTHER_PLACE}",
    errno.EISDIR: f"a folder of that name is in the way: {_CHOOSE_ANOTHER_PLACE}",
    errno.EEXIST: f"something of that name is in the way: {_CHOOSE_ANOTHER_PLACE}",
    errno.ENOTEMPTY: f"a folder of that name is in the way: {_CHOOSE_ANOTHER_PLACE}",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one with -o",
    errno.ELOOP: f"its symbolic links form a cycle: {_CHOOSE_ANOTHER_PLACE}",
    errno.EBUSY: f"something else uses it: {_CHOOSE_ANOTHER_PLACE}",
    errno.ENOLCK: f"the file system has no locks: {_CHOOSE_ANOTHER_PLACE}",
    errno.ENOSYS: f"the file system has no locks: {_CHOOSE_ANOTHER_PLACE}",
    errno.EOPNOTSUPP: f"the file system cannot do that: {_CHOOSE_ANOTHER_PLACE}",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), then run the same command again",
}


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that replaces it only if the block ends without an error.

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
    """Turn errors of the operating system in writing into errors that name the path and the way out."""
    try:
        yield
    except OSError as error:
        way_out = _WAY_OUT_BY_ERRNO.get(error.errno or 0)
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

    Args:
        what: Kind of the named thing, for the message.
        name: The name.

    Raises:
        BadInputError: It holds other characters than letters, digits, '.', '_', '-' and '+'.
    """
    if not _NAME.fullmatch(name):
        message = "cannot be part of a file name: use letters, digits, '.', '_', '-' and '+'"
        raise BadInputError(f"the name {name!r} of a {what} {message}")
