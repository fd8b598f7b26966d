"""Lock that lets only one process at a time write an index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.errors import BuildError
from elasticdenser.index.layout import lock_file


def resolve_path(path: Path) -> Path:
    """Return the path of a folder with links and `..` resolved, so that folders beside it can be named after it."""
    if path.is_symlink() or path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return path


class LockHeldError(BuildError):
    """Another process is writing."""


@contextmanager
def exclusive_lock(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the right to write the folder `path`, its build folder included.

    The operating system releases the lock of a process that dies; the lock file it leaves behind blocks nobody.

    Args:
        path: The folder.
        wait_s: How long to wait for another process that holds the lock.

    Raises:
        LockHeldError: Another process holds the lock.
        BuildError: The disk refuses.
    """
    from filelock import FileLock, Timeout  # imported here because a search does not need it

    file = lock_file(path)
    # Where there is no flock, filelock would fall back to a file that a killed process leaves behind.
    lock = FileLock(file, blocking=wait_s > 0, timeout=wait_s, fallback_to_soft=False)
    with explained_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise LockHeldError(f"another process is writing to {path}: wait for it to end") from None
    try:
        yield
    finally:
        # Removed while the lock is held: a process that has opened the file detects that it was removed, and fails.
        with suppress(OSError):
            file.unlink()
        lock.release()
