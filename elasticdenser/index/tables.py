"""Ids and vectors of all segments of an index, by position, without the deleted passages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Array, Positions
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.contents import IndexContents, manifest_content
from elasticdenser.index.integrity import Check, check_integrity
from elasticdenser.index.line_files import found_positions, id_text
from elasticdenser.index.repeated_ids import hashes_in_several
from elasticdenser.index.segment import Segment


def open_segments(
    folder: Path,
    check: Check,
    opened: Sequence[Segment] = (),
    *,
    has_structure: bool = True,
    has_postings: bool = True,
) -> tuple[IndexContents, SegmentTable]:
    """Open the segments of the newest generation of an index.

    Args:
        folder: The index.
        check: As `PassageIndex.open` takes it.
        opened: Segments of another generation, whose files are not opened again.
        has_structure: Whether the search structures are read.
        has_postings: Whether the postings are opened.

    Raises:
        IndexFormatError: It is missing, damaged, unfinished, or of a newer format.
    """
    while True:
        before = manifest_content(folder)
        try:
            contents = IndexContents.read(folder)
            manifest = contents.part(has_structure=has_structure, has_postings=has_postings)
            check_integrity(folder, manifest, check)
            files = [
                next((segment.files for segment in opened if segment.files.manifest == own.manifest), None)
                for own in contents.segments
            ]
            segments = [
                Segment.open(folder, own, open_files, has_structure=has_structure, has_postings=has_postings)
                for own, open_files in zip(contents.segments, files, strict=True)
            ]
            if check == "all":
                _check_ids(folder, segments)
            return contents, SegmentTable(segments)
        except (IndexFormatError, FileNotFoundError):
            if manifest_content(folder) == before:
                raise  # else the files are gone because a new generation has replaced them


def _check_ids(folder: Path, segments: Sequence[Segment]) -> None:
    """Refuse an index with an id in two segments.

    Raises:
        IndexFormatError: It has such an id.
    """
    if not len(hashes_in_several([segment.files.ids.hashes for segment in segments])):
        return
    for number, segment in enumerate(segments):
        for other in segments[:number]:
            rows, n_shared = segment.rows_shared_with(other)
            if n_shared:
                raise IndexFormatError(
                    f"{folder} is damaged: {n_shared:,} ids are in two parts of it, such as "
                    f"{segment.files.ids[int(rows[0])]!r}: restore it from a copy"
                )


class SegmentTable:
    """Places of the passages of an index in its segments.

    Args:
        segments: The segments, in order.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.ends = np.cumsum([len(segment) for segment in segments], dtype=np.int64)
        self._ends: list[int] = self.ends.tolist()  # a single position is found faster in a list

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def start(self, number: int) -> int:
        """Return the position of the first passage of a segment."""
        return int(self.ends[number - 1]) if number else 0

    def place(self, position: int) -> tuple[Segment, int]:
        """Return segment and row of the passage at a position."""
        number = bisect_right(self._ends, position)
        segment = self.segments[number]
        return segment, segment.row(position - (self._ends[number - 1] if number else 0))

    def places(self, positions: Positions) -> Iterator[tuple[Segment, NDArray[np.intp], Positions]]:
        """Yield each segment that passages are in, which of the positions these are, and their rows.

        Args:
            positions: int64, (n,), from 0 to the number of passages.
        """
        numbers = np.searchsorted(self.ends, positions, side="right")
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            segment = self.segments[number]
            yield segment, chosen, segment.rows(positions[chosen] - self.start(number))


class SegmentIds:
    """Ids by position, and positions by id, as of an `IdTable`.

    Args:
        table: The segments.
    """

    def __init__(self, table: SegmentTable) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, position: int) -> str:
        position = _checked_position(position, len(self))
        segment, row = self._table.place(position)
        return segment.files.ids[row]

    def __iter__(self) -> Iterator[str]:
        for segment in self._table.segments:
            for row in segment.rows(np.arange(len(segment))).tolist():
                yield segment.files.ids[row]

    def take(self, positions: Positions) -> list[str]:
        """Return the ids at positions, int64, (n,), none below 0."""
        if len(self._table.segments) == 1:
            (segment,) = self._table.segments
            return segment.files.ids.take(segment.rows(positions))
        ids = [""] * len(positions)
        for segment, chosen, rows in self._table.places(positions):
            for number, doc_id in zip(chosen.tolist(), segment.files.ids.take(rows), strict=True):
                ids[number] = doc_id
        return ids

    def find(self, doc_id: str | int) -> int:
        """Return the position of `doc_id`, or -1.

        Raises:
            QueryError: It is neither a string nor an integer.
            IndexFormatError: The table of positions is damaged.
        """
        doc_id = id_text(doc_id)
        for number, segment in enumerate(self._table.segments):
            position = segment.find(doc_id)
            if position >= 0:
                return self._table.start(number) + position
        return -1

    def positions(self, doc_ids: Iterable[str | int]) -> Positions:
        """Return the positions of `doc_ids`, int64, (n,), in the same order; an integer is taken as its text.

        Raises:
            QueryError: Some are not in the index, or are neither strings nor integers; or it is one id.
        """
        return found_positions(self._find_all, doc_ids)

    def _find_all(self, doc_ids: Sequence[str]) -> Positions:
        found = np.full(len(doc_ids), -1, np.int64)
        for number, segment in enumerate(self._table.segments):
            missing = np.flatnonzero(found < 0)
            if not len(missing):
                break
            positions = segment.find_all([doc_ids[each] for each in missing.tolist()])
            found[missing] = np.where(positions >= 0, positions + self._table.start(number), -1)
        return found


class SegmentVectors:
    """Vectors by position: it is indexed and converted as an array of NumPy, float32, (n_passages, dim).

    Args:
        table: The segments.
        dim: Dimensions of a vector.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, table: SegmentTable, dim: int) -> None:
        self._table, self.shape = table, (len(table), dim)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, tuple):
            return self[key[0]][(slice(None), *key[1:]) if np.ndim(self._numbers(key[0])) else key[1:]]
        numbers = self._numbers(key)
        found = np.empty((numbers.size, self.shape[1]), np.float32)
        for segment, chosen, rows in self._table.places(numbers.ravel()):
            found[chosen] = segment.files.vectors[rows]
        return found.reshape(*numbers.shape, self.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("the vectors of several segments are in no one array: leave out copy=False")
        return self[:].astype(dtype or self.dtype, copy=False)

    def _numbers(self, key: Any) -> Positions:
        """Return the positions that a key means: int64, of any shape."""
        if isinstance(key, slice):
            return np.arange(len(self), dtype=np.int64)[key]
        numbers = np.asarray(key)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        if numbers.size == 0:
            return np.empty(numbers.shape, np.int64)
        if not np.issubdtype(numbers.dtype, np.integer):
            raise IndexError(f"got positions of type {numbers.dtype}, expected whole numbers")
        if numbers.min() < -len(self) or numbers.max() >= len(self):
            raise IndexError(f"got positions from {numbers.min()} to {numbers.max()} of {len(self):,} vectors")
        return np.where(numbers < 0, numbers + len(self), numbers).astype(np.int64)


def _checked_position(position: int, n_passages: int) -> int:
    """Return a position, counted from the end if it is negative.

    Raises:
        IndexError: There is no such position.
    """
    if not -n_passages <= position < n_passages:
        raise IndexError(f"got position {position} of {n_passages:,} passages")
    return position % n_passages
