"""Folders of models on disk: written under a temporary name and then renamed, so that they are complete or absent."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import BuildError


def check_replaceable(folder: Path, is_replaced: Callable[[Path], bool], kind: str) -> None:
    """Check that a model may be written to a folder: it is absent, empty, or holds a model of the same kind.

    Args:
        folder: The folder.
        is_replaced: Returns whether a folder holds such a model.
        kind: What it is called in the message, such as `an elastic encoder`.

    Raises:
        BuildError: It holds something else, or cannot be read.
    """
    with explained_os_errors(folder):
        if folder.is_dir() and (is_replaced(folder) or not any(folder.iterdir())):
            return
        if folder.exists():
            raise BuildError(
                f"cannot write {folder}: it holds something other than {kind}: choose another folder, or remove it"
            )


@contextmanager
def replacing_folder(folder: Path, check: Callable[[Path], None]) -> Iterator[Path]:
    """Create a folder that takes the place of another one if the block ends without an error, and else is removed.

    Args:
        folder: The final name, resolved; folders that it lies in are created.
        check: Raises a BuildError unless what is there may be replaced.

    Raises:
        BuildError: The disk refuses, or the folder holds something else; the former content is unchanged.
    """
    work = _beside(folder, "tmp")
    try:
        with explained_os_errors(folder):
            work.mkdir(parents=True)
            yield work
            _put_in_place(work, folder, check)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(work: Path, folder: Path, check: Callable[[Path], None]) -> None:
    """Rename a complete folder to its final name; the former one is removed only after that."""
    for path in work.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                flush_to_disk(file)
    flush_folder(work)
    # Something may have been written there in the meantime.
    check(folder)
    replaced = _beside(folder, "replaced")
    existed = folder.exists()
    if existed:
        os.rename(folder, replaced)
    try:
        os.rename(work, folder)
    except BaseException:  # an interruption too
        if existed:
            os.rename(replaced, folder)
        raise
    flush_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _beside(folder: Path, purpose: str) -> Path:
    """Return an unused hidden name beside `folder`."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.{purpose}")
