"""Changes of an index: each is one new manifest, swapped by rename, and everything else is written before it.

A process that is killed leaves files that no manifest names; the next writer removes them.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from elasticdenser.arrays import Positions
from elasticdenser.artifacts import atomic_write, explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.chunking import n_documents_of
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.generation import DeletedPassages, Generation, SegmentEntry
from elasticdenser.index.integrity import check_integrity, mark_verified, verified_files
from elasticdenser.index.layout import (
    ID_OFFSETS,
    IDS,
    MANIFEST,
    SEGMENTS,
    building_folder,
    lock_file,
    replaced_folder,
)
from elasticdenser.index.lexical.info import KEEP
from elasticdenser.index.line_files import LineFile
from elasticdenser.index.locking import LockHeldError, exclusive_lock
from elasticdenser.index.manifest import FileEntry, Manifest
from elasticdenser.index.publishing import recover
from elasticdenser.index.segment import Segment
from elasticdenser.version import __version__

WAIT_S = 30.0
"""How long a change waits for another one, which holds the lock for a moment only; a build holds it longer."""

_SUFFIXES = [function(Path("x")).suffix for function in (building_folder, replaced_folder, lock_file)]

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EACCES)
"""Errors of the operating system where a file cannot be linked, but may be copied."""


class IndexWriter:
    """Right to change an index; made by `writing`.

    Args:
        folder: The index.

    Attributes:
        contents: The newest generation; the index is a living one, also if it was none before.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        recover(folder)
        contents = IndexContents.read(folder)
        contents.check_unsharded()
        check_integrity(folder, contents.primary)
        remove_leftovers(contents)
        if contents.generation is None:
            convert(folder, contents.manifest)
            contents = IndexContents.read(folder)
        self.contents = contents

    @property
    def generation(self) -> Generation:
        """Manifest of the newest generation."""
        if self.contents.generation is None:
            raise RuntimeError(f"{self._folder} was not converted")
        return self.contents.generation

    @cached_property
    def segments(self) -> list[Segment]:
        """The segments, opened without their search structures, as they were before any `commit`."""
        return [
            Segment.open(self._folder, own, None, has_structure=False, has_postings=False)
            for own in self.contents.segments
        ]

    def commit(
        self,
        deleted: Mapping[str, Positions],
        new: Path | None = None,
        instead_of: Sequence[str] = (),
        stemmer: str | None = KEEP,
    ) -> IndexContents:
        """Write the next generation.

        Args:
            deleted: For the segments that lose passages, by name: the rows of all their deleted passages, in rising
                order. The name of the new segment is that of its folder `new`.
            new: Folder of a complete segment among the segments, which is renamed.
            instead_of: Neighbouring segments that the new one replaces; by default it comes after all others.
            stemmer: Stemmer of the postings that all segments then have; None if they have none, `keep` as before.

        Raises:
            BuildError: The disk refuses; the old generation is still in place.
        """
        number, folder = self.generation.generation + 1, self._folder / SEGMENTS
        old_files = self.contents.manifest.files
        added = None if new is None else _entry(folder, new, None, deleted.get(new.name), number, name=str(number))
        entries: list[SegmentEntry | None] = []
        for entry in self.generation.segments:
            if entry.name not in instead_of:
                entries.append(_entry(folder, folder / entry.name, entry, deleted.get(entry.name), number))
            elif entry.name == instead_of[0]:
                entries.append(added)
        if not instead_of:
            entries.append(added)
        generation = replace(
            self.generation,
            generation=number,
            created=_now(),
            software=__version__,
            segments=tuple(entry for entry in entries if entry is not None),
            metadata=self._metadata_with(new),
            stemmer=self.generation.stemmer if stemmer == KEEP else stemmer,
        )
        self._swap(generation, new if added is not None else None)
        self.contents = IndexContents.read(self._folder)
        remove_leftovers(self.contents)
        mark_verified(self._folder, self.contents.manifest.files.keys() - old_files.keys())
        return self.contents

    def _metadata_with(self, new: Path | None) -> dict[str, str] | None:
        """Return the fields of metadata with those of a new segment."""
        added = None if new is None else Manifest.read(new).metadata
        return {**(self.generation.metadata or {}), **(added or {})} or None

    def _swap(self, generation: Generation, new: Path | None) -> None:
        """Give the new segment its name, and write the manifest that names it."""
        number = generation.generation
        final = None if new is None else new.with_name(str(number))
        try:
            if new is not None and final is not None:
                os.rename(new, final)
            flush_folder(self._folder / SEGMENTS)
            generation.write(self._folder)
        except BaseException:
            if new is not None and final is not None:
                self._undo_rename(number, final, new)
            raise
        flush_folder(self._folder)

    def _undo_rename(self, number: int, final: Path, new: Path) -> None:
        """Give a segment the name back under which the same command finds it, unless the generation was written."""
        with suppress(OSError, IndexFormatError):
            if IndexContents.read(self._folder).number != number:
                os.rename(final, new)


@contextmanager
def writing(folder: Path, wait_s: float = WAIT_S) -> Iterator[IndexWriter]:
    """Hold the right to change an index, after another process that holds it.

    Args:
        folder: The index, as `resolve_path` returns it.
        wait_s: How long to wait for the other process.

    Raises:
        BuildError: Another process holds the right for longer, or the disk refuses.
        IndexFormatError: There is no such index, or it is damaged.
    """
    if not (folder / MANIFEST).exists():
        IndexContents.read(folder)  # says what is wrong; a folder that is no index gets no lock file
    with exclusive_lock(folder, wait_s), explained_os_errors(folder):
        yield IndexWriter(folder)


def convert(folder: Path, manifest: Manifest) -> None:
    """Make a living index of one that was never changed: its files are linked into the first segment.

    Args:
        folder: The index.
        manifest: Its manifest.
    """
    segment = folder / SEGMENTS / "1"
    verified = verified_files(folder, manifest.files)
    segment.mkdir(parents=True)
    for name in (*manifest.files, MANIFEST):
        link_or_copy(folder / name, segment / name)
    flush_folder(segment)
    flush_folder(segment.parent)
    Generation(
        generation=1,
        created=_now(),
        software=__version__,
        dim=manifest.dim,
        has_texts=manifest.has_texts,
        encoder=manifest.encoder,
        chunking=manifest.chunking,
        metadata=manifest.metadata,
        stemmer=manifest.stemmer,
        segments=(SegmentEntry(name="1", manifest=FileEntry.of(segment / MANIFEST)),),
    ).write(folder)
    flush_folder(folder)
    remove_leftovers(IndexContents.read(folder))
    mark_verified(folder, [f"{SEGMENTS}/1/{name}" for name in verified])  # links have changed their times


def remove_leftovers(contents: IndexContents) -> None:
    """Remove what killed writers have left and earlier generations had; the caller holds the lock of the index."""
    folder, generation = contents.folder, contents.generation
    if generation is not None:
        for segment in contents.segments:
            for name in segment.manifest.files:  # they were in the folder itself before the index was converted
                (folder / name).unlink(missing_ok=True)
    if not (folder / SEGMENTS).is_dir():
        return
    named = set(generation.names) if generation else set()
    for entry in sorted((folder / SEGMENTS).iterdir()):
        if entry.name not in named:
            _remove_unless_locked(entry)
    if generation is None and not any((folder / SEGMENTS).iterdir()):
        (folder / SEGMENTS).rmdir()


def _remove_unless_locked(entry: Path) -> None:
    """Remove a leftover, but not the work of a process that is still writing it."""
    stem = entry.with_suffix("") if entry.suffix in _SUFFIXES else entry
    with suppress(LockHeldError), exclusive_lock(stem):
        if entry.suffix == lock_file(stem).suffix:
            return  # a lock is removed when it is released
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file that is never altered, or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(source, "rb") as old, open(target, "xb") as new:
            shutil.copyfileobj(old, new)
            flush_to_disk(new)


def _entry(
    folder: Path, segment: Path, old: SegmentEntry | None, deleted: Positions | None, number: int, name: str = ""
) -> SegmentEntry | None:
    """Return the entry of a segment in the next generation, after writing the file of its deleted passages.

    Args:
        folder: The folder of segments.
        segment: The folder of the segment.
        old: Its entry in the last generation; None for a new segment.
        deleted: Rows of all its deleted passages; None if they do not change.
        number: Number of the next generation.
        name: Name of a new segment.

    Returns:
        The entry, or None if no passage is left.
    """
    if old is not None and deleted is None:
        return old
    manifest = Manifest.read(segment)
    entry = old or SegmentEntry(name=name, manifest=FileEntry.of(segment / MANIFEST))
    if deleted is None or not len(deleted):
        return entry
    if len(deleted) == manifest.n_passages:
        return None
    file = folder / f"{entry.name}.deleted-{number}"
    with atomic_write(file, "wb") as output:
        output.write(deleted.astype("<i8").tobytes())
    n_documents = None
    if manifest.chunking is not None:
        n_documents = n_documents_of(LineFile(segment / IDS, segment / ID_OFFSETS).take(deleted))
    return replace(entry, deleted=DeletedPassages(file=file.name, entry=FileEntry.of(file), n_documents=n_documents))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
