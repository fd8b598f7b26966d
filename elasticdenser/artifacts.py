"""Atomic writes, checksums, and clear messages when the operating system refuses to write."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
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
    errno.EBADF: f"it is not open for writing: {_CHOOSE_ANOTHER_PLACE}",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), then run the same command again",
}


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that replaces `path` only if the block ends without an error.

    Links are followed: the file they lead to is replaced, and they stay. A stream (see `is_stream`) cannot be replaced,
    so it is opened itself.

    Args:
        path: The file to write; its folder must exist.
        mode: `w` (UTF-8 text) or `wb`.

    Raises:
        BuildError: The disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    encoding = None if "b" in mode else "utf-8"
    with explained_os_errors(path):
        if is_stream(path):
            with open(path, mode, encoding=encoding, opener=_open_stream) as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with _errors_of(path, instead_of=temporary), open(temporary, mode, encoding=encoding) as file:
                yield file
                flush_to_disk(file)
            replace_file(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def replace_file(finished: Path, path: Path) -> None:
    """Give a finished file its final name; a file of that name is replaced, and links are followed.

    Raises:
        BuildError: Something other than a regular file is there.
    """
    with explained_os_errors(path):
        if is_stream(path):
            raise BuildError(f"cannot write {path}: it is not a regular file: {_CHOOSE_ANOTHER_PLACE}")
        with _errors_of(path, instead_of=finished):
            os.replace(finished, os.path.realpath(path))


@contextmanager
def _errors_of(path: Path, *, instead_of: Path) -> Iterator[None]:
    """Let errors name a file instead of its temporary one, which a user does not know."""
    try:
        yield
    except OSError as error:
        if error.filename == str(instead_of):
            error.filename = str(path)
        raise


def is_stream(path: str | Path) -> bool:
    """Return whether a path is something that is written to and must not be replaced.

    These are FIFOs, devices and sockets, links to them, and the open files of this process, such as `/dev/stdout`.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _descriptor_of(path) is not None


def _descriptor_of(path: str | Path) -> int | None:
    """Return the descriptor of the open file that a path such as `/dev/stdout` names; None for any other path."""
    current = os.path.join(os.getcwd(), path)
    while True:  # ends, because links that form a cycle are an error of `os.stat`
        folder, name = os.path.realpath(os.path.dirname(current)), os.path.basename(current)
        if folder in (f"/proc/{os.getpid()}/fd", "/dev/fd") and name.isdigit():
            return int(name)
        if not os.path.islink(current):
            return None
        current = os.path.join(folder, os.readlink(current))


def _open_stream(path: str, flags: int) -> int:
    """Open a stream for `open`, without creating anything."""
    descriptor = _descriptor_of(path)
    if descriptor is None:
        return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC))
    # The path would be opened a second time, from its beginning: `>> file` would be overwritten.
    for output in (sys.stdout, sys.stderr):
        if output is not None and not output.closed:
            output.flush()
    try:
        return os.dup(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def flush_to_disk(file: IO[Any]) -> None:
    """Flush `file` and wait until the operating system has it on disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the operating system has the names of the files in `folder` on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained_os_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system while writing into errors that name the path and the way out."""
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
