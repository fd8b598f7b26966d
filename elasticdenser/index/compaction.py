"""Compaction: segments are merged into one without their deleted passages, by copying, without encoding."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from elasticdenser.arrays import Positions
from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import BuildError
from elasticdenser.index import journal, layout
from elasticdenser.index.build import finish_index
from elasticdenser.index.contents import IndexContents, merged_manifest
from elasticdenser.index.layout import SEGMENTS, building_folder
from elasticdenser.index.locking import LockHeldError, exclusive_lock, resolve_path
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.plan import BuildPlan
from elasticdenser.index.publishing import publish
from elasticdenser.index.rebuilding import KEEP, rebuild_derived
from elasticdenser.index.segment import NO_POSITIONS, Segment
from elasticdenser.index.structures import check_factory, choose_factory
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.index.tables import open_segments
from elasticdenser.index.writing import WAIT_S, writing
from elasticdenser.progress import Progress, silent

logger = logging.getLogger(__name__)

MAX_SEGMENTS = 9
"""An index of more is merged where it costs least: one large segment and eight small ones take little more time to
search than one (eval/bench/living.py)."""

MAX_DELETED = 0.2
"""A segment of which more is deleted is written again: a search asks it for so many more candidates."""

_SMALL = 10_000
"""Segments up to this size are scanned without their deleted passages, which therefore cost nothing."""

_COPIED_AT_ONCE = 16_384
"""Vectors that are copied into memory at a time: 25 MB at 384 dimensions."""


def compact(path: Path, *, factory: str = AUTO, progress: Progress = silent) -> int:
    """Merge all segments of an index into one, without the deleted passages, and return the number of the generation.

    The order of the passages does not change. Nothing is done if there is nothing to merge or to remove.

    Args:
        path: The index.
        factory: Factory string of the new structure; `auto` keeps one that was chosen by hand.
        progress: Called with (step, done, in all).

    Raises:
        IndexFormatError: There is no such index, or it is damaged.
        BuildError: Another process is compacting the index or writes for a long time, or the disk refuses.
    """
    folder = resolve_path(path)
    contents = IndexContents.read(folder)
    contents.check_unsharded()
    is_compact = len(contents.segments) <= 1 and not any(segment.deleted for segment in contents.segments)
    if is_compact and factory in (AUTO, contents.manifest.structure.factory):
        return contents.number
    return rewrite(folder, factory, progress)


def rewrite(path: Path, factory: str = AUTO, progress: Progress = silent) -> int:
    """Write all passages of an index as one segment with a new structure; the files of the old ones may be damaged.

    The arguments, result and errors are those of `compact`.
    """
    folder = resolve_path(path)
    contents = IndexContents.read(folder)
    contents.check_unsharded()
    if contents.generation is None:
        rebuild_derived(folder, factory, progress, stemmer=KEEP)
        return 0
    return _merge(folder, slice(0, len(contents.segments)), factory, progress)


def compact_if_needed(path: Path, progress: Progress = silent) -> int:
    """Merge segments until there are at most `MAX_SEGMENTS`, and none has more than `MAX_DELETED` deleted.

    Nothing is merged while another process does it. Where the disk refuses, a warning is logged: the index is as good
    as before, and the next change tries again.

    Args:
        path: The index.
        progress: Called with (step, done, in all).

    Raises:
        IndexFormatError: There is no such index, or it is damaged.
    """
    folder = resolve_path(path)
    while True:
        contents = IndexContents.read(folder)
        chosen = choose_segments(
            [segment.n_passages for segment in contents.segments],
            [segment.manifest.n_passages for segment in contents.segments],
        )
        if chosen is None:
            return contents.number
        try:
            _merge(folder, chosen, AUTO, progress, wait_s=0.0)
        except LockHeldError:
            return contents.number
        except BuildError as error:
            logger.warning("the index was changed, but its segments could not be merged: %s", error)
            return contents.number


def choose_segments(n_left: Sequence[int], n_rows: Sequence[int]) -> slice | None:
    """Return which neighbouring segments should be merged; None if none has to be.

    Args:
        n_left: Number of passages of each segment that are not deleted.
        n_rows: The same, with the deleted ones.
    """
    for number, (left, rows) in enumerate(zip(n_left, n_rows, strict=True)):
        if rows > _SMALL and rows - left > MAX_DELETED * rows:
            stop = number + 1
            while stop < len(n_left) and n_left[stop] < left:
                stop += 1  # the smaller ones that follow cost little more
            return slice(number, stop)
    n_segments = len(n_left)
    if n_segments <= MAX_SEGMENTS:
        return None
    windows = [(start, stop) for start in range(n_segments) for stop in range(start + 2, n_segments + 1)]
    cost = {window: sum(n_left[slice(*window)]) / (window[1] - window[0] - 1) for window in windows}
    return slice(*min(windows, key=lambda window: (cost[window], window[0] - window[1])))


def _merge(folder: Path, chosen: slice, factory: str, progress: Progress, wait_s: float = WAIT_S) -> int:
    """Merge some neighbouring segments, while other changes go on; return the number of the generation.

    Raises:
        BuildError: Another process is compacting the index for longer than `wait_s`, or the disk refuses.
    """
    work = folder / SEGMENTS / "merging"
    with exclusive_lock(work, wait_s), explained_os_errors(folder):
        _, table = open_segments(folder, "changed", has_structure=False)
        segments = list(table.segments[chosen])
        for leftover in (work, building_folder(work)):
            shutil.rmtree(leftover, ignore_errors=True)
        if segments:
            _write_merged(work, segments, factory, progress)
        with writing(folder) as writer:
            current = [_same_files(segment, writer.segments) for segment in segments]
            names = [segment.contents.name for segment in current if segment is not None]
            if segments and not names:  # all was deleted meanwhile, or the index was replaced
                shutil.rmtree(work)
                return writer.contents.number
            deleted = {work.name: _deleted_meanwhile(segments, current)}
            return writer.commit(deleted, new=work if segments else None, instead_of=names).number


def _same_files(old: Segment, segments: Sequence[Segment]) -> Segment | None:
    """Return the segment of a later generation that has the files of an old one; None if all of it was deleted."""
    return next((segment for segment in segments if segment.files.manifest == old.files.manifest), None)


def _deleted_meanwhile(old: Sequence[Segment], new: Sequence[Segment | None]) -> Positions:
    """Return which passages of the merged segment were deleted while it was written, in rising order.

    Args:
        old: The segments that were merged.
        new: The same in the newest generation; None if all their passages are deleted.
    """
    start, parts = 0, [NO_POSITIONS]
    for before, after in zip(old, new, strict=True):
        if after is None:
            parts.append(np.arange(start, start + len(before)))
        else:
            rows = np.setdiff1d(after.deleted, before.deleted, assume_unique=True)
            parts.append(before.positions(rows) + start)
        start += len(before)
    return np.concatenate(parts)


def _write_merged(path: Path, segments: Sequence[Segment], factory: str, progress: Progress) -> None:
    """Write a complete segment of the passages of others that are not deleted, in their order."""
    merged = merged_manifest([segment.contents for segment in segments])
    work = building_folder(path)
    work.mkdir()
    sizes = {layout.VECTORS: _copy_vectors(work, segments, merged.n_passages, progress)}
    for name in segments[0].files.lines:
        sizes |= _copy_lines(work, name, segments)
    flush_folder(work)
    journal.record(work, merged.n_passages, sizes, merged.n_truncated)
    factory = _factory_of(segments, merged) if factory == AUTO else factory
    finish_index(work, BuildPlan.of_index(merged), factory, progress, vectors=merged.vectors)
    publish(work, path)


def _factory_of(segments: Sequence[Segment], merged: Manifest) -> str:
    """Return the structure of the largest segment, if it was chosen by hand and can be built; else `auto`."""
    largest = max(segments, key=len).files.manifest
    factory = largest.structure.factory
    if factory == choose_factory(largest.n_passages, largest.dim):
        return AUTO
    try:
        check_factory(factory, merged.dim, merged.n_passages)
    except BuildError:
        return AUTO
    return factory


def _copy_vectors(work: Path, segments: Sequence[Segment], n_passages: int, progress: Progress) -> int:
    """Copy the vectors, and return the size of their file."""
    n_copied = 0
    with open(work / layout.VECTORS, "xb") as file:
        for segment in segments:
            for start in range(0, len(segment), _COPIED_AT_ONCE):
                positions = np.arange(start, min(start + _COPIED_AT_ONCE, len(segment)))
                file.write(segment.files.vectors[segment.rows(positions)].tobytes())
                n_copied += len(positions)
                progress("copying", n_copied, n_passages)
        flush_to_disk(file)
        return file.tell()


def _copy_lines(work: Path, name: str, segments: Sequence[Segment]) -> dict[str, int]:
    """Copy the lines of the passages that are not deleted, and write their offsets.

    Args:
        work: The folder.
        name: Name of the file of lines.
        segments: The segments.

    Returns:
        The sizes of both files, by name.
    """
    files = [segment.files.lines[name] for segment in segments]
    lengths = [lines.lengths()[segment.is_left] for lines, segment in zip(files, segments, strict=True)]
    ends = np.cumsum(np.concatenate(lengths)).astype("<i8").tobytes()
    copied = (lines.content(*run) for lines, segment in zip(files, segments, strict=True) for run in _runs(segment))
    sizes = {}
    for file_name, contents in ((name, copied), (layout.LINE_FILES[name], iter([ends]))):
        with open(work / file_name, "xb") as file:
            file.writelines(contents)
            flush_to_disk(file)
            sizes[file_name] = file.tell()
    return sizes


def _runs(segment: Segment) -> Iterator[tuple[int, int]]:
    """Yield first row, and row after the last, of passages in a row that are not deleted."""
    start = 0
    for deleted in (*segment.deleted.tolist(), segment.n_rows):
        for first in range(start, deleted, _COPIED_AT_ONCE):
            yield first, min(first + _COPIED_AT_ONCE, deleted)
        start = deleted + 1
