"""Where an index comes to stand: one writer at a time, and a change of place that a kill cannot spoil.

An index `NAME` is built in `NAME.building`. One that is replaced stands in `NAME.replaced` until the new one has
the name. `NAME.lock` belongs to the one process that may write.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.errors import BuildError
from elasticdenser.index import layout
from elasticdenser.index.layout import MANIFEST, Manifest, lock_file, replaced_folder


def settled(path: Path) -> Path:
    """Return `path` with a name of its own that is no link, so that folders beside it can be named after it."""
    if path.is_symlink() or path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return path


@contextmanager
def only_builder(path: Path) -> Iterator[None]:
    """Hold the right to write the index `path`, its build folder included.

    Raises:
        BuildError: Another process has it, or the disk refuses.
    """
    lock = lock_file(path)
    with explained_os_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(lock)
    if descriptor is None:
        raise BuildError(f"another build is writing to {path}: wait for it to end, or choose another place with -o")
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it in the meantime sees that it is gone, and starts over.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _lock(lock: Path) -> int | None:
    """Return the descriptor of the locked file, or None if another process has it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def recover(path: Path) -> None:
    """End a change of place that was interrupted; to be called by the only builder.

    Raises:
        BuildError: A folder that is no index has the name that the replaced one gets.
    """
    replaced = replaced_folder(path)
    with explained_os_errors(path):
        if replaced.exists():
            if not (replaced / MANIFEST).exists() and (not replaced.is_dir() or any(replaced.iterdir())):
                raise BuildError(f"{replaced} is not an index, but stands where one is kept meanwhile: rename it")
            if path.exists():
                remove_index(replaced)
            else:
                os.rename(replaced, path)
                flush_folder(path.parent)
        if (path / MANIFEST).exists():
            for entry in path.iterdir():
                if entry.name in layout.BUILD_NOTES or entry.match(".*.tmp"):
                    entry.unlink(missing_ok=True)


def put_in_place(work: Path, path: Path) -> None:
    """Give a complete index its final name, and note that its files are whole; see `swap_in`.

    Raises:
        BuildError: The disk refuses; what stood there stands there.
    """
    swap_in(work, path)
    manifest = Manifest.read(path)
    layout.mark_checked(path, {name: layout.times_of((path / name).stat()) for name in manifest.files})


def swap_in(work: Path, path: Path) -> None:
    """Give a complete folder its final name; an index that stood there goes only when the new one stands.

    Raises:
        BuildError: The disk refuses; what stood there stands there.
    """
    replaced = replaced_folder(path)
    with explained_os_errors(path):
        flush_folder(work)
        standing = path.exists()
        if standing:
            os.rename(path, replaced)
        try:
            os.rename(work, path)
        except BaseException:
            if standing:
                os.rename(replaced, path)
            raise
        flush_folder(path.parent)
    recover(path)


def remove_index(folder: Path) -> None:
    """Remove an index, its manifest last, so that what is left by an interruption is known for what it was."""
    for entry in folder.iterdir():
        if entry.name != MANIFEST:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    shutil.rmtree(folder)
