"""Rebuilding of an index's search structure from its vectors, without encoding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.index.integrity import check_integrity
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.manifest import Manifest, file_entries
from elasticdenser.index.structures import build_structure
from elasticdenser.index.structures.registry import structure_suffixes
from elasticdenser.progress import Progress


def rebuild_structure(folder: Path, factory: str, progress: Progress) -> None:
    """Derive the search structure of an index again; the files of the old one may be damaged.

    Args:
        folder: The index, as `resolve_path` returns it.
        factory: Factory strings, or `auto`.
        progress: Called with (step, done, in all).

    Raises:
        IndexFormatError: More than the derived files is damaged.
        BuildError: A factory string is not known, or the disk refuses.
    """
    Manifest.read(folder)  # a folder that is no index gets no lock file
    with exclusive_lock(folder), explained_os_errors(folder):
        _rebuild(folder, factory, progress)


def _rebuild(folder: Path, factory: str, progress: Progress) -> None:
    manifest = Manifest.read(folder)
    old_files = manifest.structure.files
    other_entries = {name: entry for name, entry in manifest.files.items() if name not in old_files}
    check_integrity(folder, replace(manifest, files=other_entries))
    shape = (manifest.n_passages, manifest.dim)
    structure = build_structure(folder, shape, factory, progress, reserved=old_files)
    files = {**other_entries, **file_entries(folder, structure.files, progress)}
    replace(manifest, structure=structure, files=files).write(folder)
    flush_folder(folder)
    # The files that were replaced, and those of a rebuild that was interrupted.
    for pattern in (*(f"*{suffix}" for suffix in structure_suffixes()), ".*.tmp"):
        for leftover in folder.glob(pattern):
            if leftover.name not in structure.files:
                leftover.unlink(missing_ok=True)
