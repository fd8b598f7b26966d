"""Locks: only one process at a time may write an index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.errors import BuildError
from elasticdenser.index.layout import lock_file


def resolve_path(path: Path) -> Path:
    """Return `path` with a name of its own that is not a link, so that folders beside it can be named after it."""
    if path.is_symlink() or path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return path


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold the right to write the folder `path`, its build folder included.

    The operating system releases the lock of a process that dies; the lock file it leaves behind blocks nobody.

    Raises:
        BuildError: Another process holds the lock, or the disk refuses.
    """
    from filelock import FileLock, Timeout  # a search does without

    file = lock_file(path)
    # Where there is no flock, filelock would fall back to a file that a killed process leaves behind.
    lock = FileLock(file, blocking=False, fallback_to_soft=False)
    with explained_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            message = f"another build is writing to {path}: wait for it to end, or choose another place with -o"
            raise BuildError(message) from None
    try:
        yield
    finally:
        # Removed while it is held: a process that opened it before finds that it has no name any more, and fails.
        with suppress(OSError):
            file.unlink()
        lock.release()
