"""Writing of a segment that holds the passages of others without the deleted ones, by copying, without encoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from elasticdenser.artifacts import flush_folder, flush_to_disk
from elasticdenser.errors import BuildError
from elasticdenser.index import journal, layout
from elasticdenser.index.finishing import finish_index
from elasticdenser.index.layout import building_folder
from elasticdenser.index.lexical import LexicalPart
from elasticdenser.index.lexical.info import KEEP
from elasticdenser.index.line_files import RepeatedLine
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.merged_manifest import merged_manifest
from elasticdenser.index.plan import BuildPlan
from elasticdenser.index.publishing import publish
from elasticdenser.index.segment import Segment
from elasticdenser.index.structures import check_factory, choose_factory
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.progress import Progress

_NO_METADATA = b"{}\n"
"""Line of a passage of a segment that has no metadata, where others have some."""

_COPIED_AT_ONCE = 16_384
"""Vectors that are copied into memory at a time: 25 MB at 384 dimensions."""


def write_merged(
    path: Path, segments: Sequence[Segment], factory: str, stemmer: str | None, progress: Progress
) -> None:
    """Write a complete segment of the passages of others that are not deleted, in their order."""
    merged = merged_manifest([segment.contents for segment in segments])
    work = building_folder(path)
    work.mkdir()
    sizes = {layout.VECTORS: _copy_vectors(work, segments, merged.n_passages, progress)}
    for name in dict.fromkeys(name for segment in segments for name in segment.files.lines):
        sizes |= _copy_lines(work, name, segments)
    flush_folder(work)
    journal.record(work, merged.n_passages, sizes, merged.n_truncated)
    factory = _factory_of(segments, merged) if factory == AUTO else factory
    words = [
        LexicalPart(segment.files.postings, deleted=segment.deleted)
        for segment in segments
        if segment.files.postings is not None
    ]
    stemmer = merged.stemmer if stemmer == KEEP else stemmer
    plan = BuildPlan.of_index(merged)
    finish_index(work, plan, factory, progress, vectors=merged.vectors, stemmer=stemmer, words=words)
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
    files = [segment.files.lines.get(name) or RepeatedLine(_NO_METADATA, segment.n_rows) for segment in segments]
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
