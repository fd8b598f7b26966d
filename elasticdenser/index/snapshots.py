"""Snapshots: folders that share the files of an index, which are never altered, by hard links."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.errors import BuildError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.integrity import check_integrity, mark_verified, verified_files
from elasticdenser.index.layout import MANIFEST, PLAN, building_folder
from elasticdenser.index.locking import exclusive_lock, resolve_path
from elasticdenser.index.publishing import recover
from elasticdenser.index.writing import WAIT_S, link_or_copy


def snapshot(path: Path, target: Path) -> None:
    """Make a folder that is the newest generation of an index, and stays so when the index changes.

    On the same file system it takes no space, as long as the index keeps these files; on another it is a copy.

    Args:
        path: The index.
        target: The folder to create.

    Raises:
        IndexFormatError: There is no such index, or it is damaged.
        BuildError: Something exists at `target`, another process writes for a long time, or the disk refuses.
    """
    source, target = resolve_path(path), resolve_path(target)
    if os.path.realpath(source) == os.path.realpath(target):
        raise BuildError(f"{target} is the index itself: choose another place")
    check_integrity(source, IndexContents.read(source).manifest)  # may read all files, so it comes before the lock
    with exclusive_lock(target), exclusive_lock(source, WAIT_S), explained_os_errors(target):
        recover(source)
        recover(target)
        if target.exists():
            raise BuildError(f"{target} exists: choose another place")
        contents = IndexContents.read(source)
        check_integrity(source, contents.manifest)
        work = building_folder(target)
        refuse_build(work)
        shutil.rmtree(work, ignore_errors=True)  # left by a killed process
        verified = verified_files(source, contents.manifest.files)
        _link_all(source, work, file_names(contents))
        os.rename(work, target)
        flush_folder(target.parent)
        for folder in (source, target):  # links have changed the times of the files
            mark_verified(folder, verified)


def file_names(contents: IndexContents) -> list[str]:
    """Return the names of all files of an index, its manifest last."""
    names = [*contents.manifest.files, *(str(Path(own.path, MANIFEST)) for own in contents.segments)]
    return [name for name in dict.fromkeys(str(Path(name)) for name in names) if name != MANIFEST] + [MANIFEST]


def _link_all(source: Path, work: Path, names: Sequence[str]) -> None:
    """Link files into a new folder; the manifest comes last, and makes it an index."""
    folders = {(work / name).parent for name in names} | {work}
    for folder in sorted(folders):
        folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        link_or_copy(source / name, work / name)
    for folder in folders:
        flush_folder(folder)


def refuse_build(work: Path) -> None:
    """Refuse to use the folder of an unfinished build, which has the same name as that of an unfinished copy.

    Raises:
        BuildError: It is one.
    """
    if (work / PLAN).exists():
        raise BuildError(f"{work} holds an unfinished build: finish it, or choose another place")
