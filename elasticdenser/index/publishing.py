"""Publishing of a finished build under its final name, such that neither a failure nor a kill leaves a damaged index.

An index `NAME` is built in `NAME.building`. If it replaces an index, the old one is named `NAME.replaced` meanwhile.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.errors import BuildError
from elasticdenser.index.integrity import mark_verified
from elasticdenser.index.layout import JOURNAL, MANIFEST, PLAN, replaced_folder
from elasticdenser.index.manifest import Manifest


def publish(work: Path, path: Path) -> None:
    """Give a complete index its final name, and record that its files are undamaged; see `replace_folder`.

    Raises:
        BuildError: The disk refuses; the old index is still in place.
    """
    replace_folder(work, path)
    mark_verified(path, Manifest.read(path).files)


def replace_folder(work: Path, path: Path) -> None:
    """Give a complete folder its final name; an index of that name is removed only once the new one has it.

    Raises:
        BuildError: The disk refuses; the old index is still in place.
    """
    replaced = replaced_folder(path)
    with explained_os_errors(path):
        flush_folder(work)
        has_old = path.exists()
        if has_old:
            os.rename(path, replaced)
        try:
            os.rename(work, path)
        except BaseException:
            if has_old:
                os.rename(replaced, path)
            raise
        flush_folder(path.parent)
    recover(path)


def recover(path: Path) -> None:
    """Complete or undo a replacement that was interrupted; the caller holds the lock.

    Raises:
        BuildError: `NAME.replaced` is not an index.
    """
    replaced = replaced_folder(path)
    with explained_os_errors(path):
        if replaced.exists():
            if not (replaced / MANIFEST).exists() and (not replaced.is_dir() or any(replaced.iterdir())):
                raise BuildError(
                    f"{replaced} is not an index, but has the name of an index that is being replaced: rename it"
                )
            if path.exists():
                _remove_index(replaced)
            else:
                os.rename(replaced, path)
                flush_folder(path.parent)
        if (path / MANIFEST).exists():
            for entry in path.iterdir():
                if entry.name in (PLAN, JOURNAL) or entry.match(".*.tmp"):
                    entry.unlink(missing_ok=True)


def _remove_index(folder: Path) -> None:
    """Remove an index, its manifest last, so that what an interruption leaves is still recognised."""
    for entry in folder.iterdir():
        if entry.name != MANIFEST:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    shutil.rmtree(folder)
