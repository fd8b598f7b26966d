"""Random access to lines of memory-mapped files, so that opening an index takes no longer with more passages."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions
from elasticdenser.artifacts import flush_to_disk
from elasticdenser.errors import IndexFormatError, QueryError

_ZEROED_AT_ONCE = 1 << 16
"""Entries that are written at a time when the file is allocated: 1 MB."""

_LINE_FEED = ord("\n")

_LOOKUP_ENTRY = np.dtype([("hash", "<u8"), ("position", "<i8")])


class LineFile:
    """UTF-8 lines, with their byte offsets in a second file.

    Args:
        path: The lines, each ended by a line feed.
        offsets: File of little-endian int64: the offset behind each line, in bytes.

    Raises:
        IndexFormatError: The offsets do not belong to the lines. Each line is checked when it is read.
    """

    def __init__(self, path: Path, offsets: Path) -> None:
        self._path = path
        self._ends = _memory_map(offsets, np.dtype("<i8"))
        try:
            with open(path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise self._damaged("it is empty") from None
        if self._ends[-1] != len(self._bytes):
            raise self._damaged(f"it has {len(self._bytes):,} bytes, its offsets end at {self._ends[-1]:,}")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> str:
        start = int(self._ends[position - 1]) if position else 0
        return self._line(start, int(self._ends[position]))

    def __iter__(self) -> Iterator[str]:
        for position in range(len(self)):
            yield self[position]

    def take(self, positions: Positions) -> list[str]:
        """Return the lines at positions, int64, (n,), none below 0; faster than reading them one by one."""
        starts = np.where(positions > 0, self._ends[positions - 1], 0)
        ends = self._ends[positions]
        return [self._line(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def lengths(self) -> Positions:
        """Return the length of each line in bytes, its line feed included: int64, (n,)."""
        return np.diff(self._ends, prepend=0)

    def content(self, start: int, stop: int) -> bytes:
        """Return the lines from position `start` to before `stop`, as they are in the file."""
        return self._bytes[int(self._ends[start - 1]) if start else 0 : int(self._ends[stop - 1])]

    def _line(self, start: int, end: int) -> str:
        """Return the line between two offsets, without its line feed."""
        content = self._bytes
        if not 0 <= start < end <= len(content) or content[end - 1] != _LINE_FEED:
            raise self._damaged(f"no line ends at the offset {end:,}")
        try:
            return content[start : end - 1].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"the line up to offset {end:,} is not UTF-8: {error.reason}") from None

    def _damaged(self, reason: str) -> IndexFormatError:
        return IndexFormatError(
            f"{self._path} is damaged ({reason}): restore the index from a copy, or build it again with --overwrite"
        )


class RepeatedLine:
    """The same line at each position, copied like those of a `LineFile`.

    Args:
        line: The line, ended by a line feed.
        n: Number of positions.
    """

    def __init__(self, line: bytes, n: int) -> None:
        self._line, self._n = line, n

    def lengths(self) -> Positions:
        """Return the length of each line in bytes: int64, (n,)."""
        return np.full(self._n, len(self._line), np.int64)

    def content(self, start: int, stop: int) -> bytes:
        """Return the lines from position `start` to before `stop`."""
        return self._line * (stop - start)


class IdTable:
    """Document ids by position, and positions by document id.

    Args:
        lines: The ids in the order of the vectors.
        lookup: File of (hash, position), sorted by hash, as `write_lookup` writes it.
    """

    def __init__(self, lines: LineFile, lookup: Path) -> None:
        self.lines = lines
        self._lookup = _memory_map(lookup, _LOOKUP_ENTRY)
        self._hashes: NDArray[np.uint64] = self._lookup["hash"]  # each access to a field makes another view

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, position: int) -> str:
        return self.lines[position]

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def take(self, positions: Positions) -> list[str]:
        """Return the ids at positions, int64, (n,), none below 0."""
        return self.lines.take(positions)

    def find(self, doc_id: str | int) -> int:
        """Return the position of `doc_id`, or -1.

        Raises:
            QueryError: It is neither a string nor an integer.
            IndexFormatError: The table of positions is damaged.
        """
        doc_id = id_text(doc_id)
        id_hash = np.uint64(_id_hash(doc_id))
        entry = int(self._hashes.searchsorted(id_hash))
        while entry < len(self._hashes) and self._hashes[entry] == id_hash:
            position = int(self._lookup["position"][entry])
            if not 0 <= position < len(self):
                raise IndexFormatError(
                    f"the table of ids names position {position}, expected 0 to {len(self) - 1}: restore the index "
                    "from a copy, or build it again with --overwrite"
                )
            if self.lines[position] == doc_id:
                return position
            entry += 1
        return -1

    def find_all(self, doc_ids: Sequence[str]) -> Positions:
        """Return the positions of ids, int64, (n,), -1 for those that are not here; faster than one by one.

        Raises:
            IndexFormatError: The table of positions is damaged.
        """
        if not len(self) or not doc_ids:
            return np.full(len(doc_ids), -1, np.int64)
        hashes = np.fromiter(map(_id_hash, doc_ids), np.uint64, len(doc_ids))
        entries = np.minimum(self._hashes.searchsorted(hashes), len(self._hashes) - 1)
        positions = np.where(self._hashes[entries] == hashes, self._lookup["position"][entries], -1)
        if positions.min() < -1 or positions.max() >= len(self):
            positions = np.full(len(doc_ids), -1)  # `find` names the fault
        lines = self.lines.take(np.maximum(positions, 0))
        for number, (doc_id, line) in enumerate(zip(doc_ids, lines, strict=True)):
            if positions[number] < 0 or line != doc_id:  # it is not here, or others have the same hash
                positions[number] = self.find(doc_id)
        return positions

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """Hashes of the ids: uint64, (n,), in rising order."""
        return self._hashes

    def maybe_shared_with(self, other: IdTable) -> Positions:
        """Return the positions of the ids that the other table seems to have too, by their hashes: int64, (n,)."""
        own, others = (table._hashes for table in (self, other))
        places = np.minimum(np.searchsorted(others, own), len(others) - 1)
        return np.sort(self._lookup["position"][others[places] == own])

    def positions(self, doc_ids: Iterable[str | int]) -> Positions:
        """Return the positions of `doc_ids`, int64, (n,), in the same order; an integer is taken as its text.

        Raises:
            QueryError: Some are not in the index, or are neither strings nor integers; or it is one id.
        """
        return found_positions(self.find_all, doc_ids)


def found_positions(find_all: Callable[[Sequence[str]], Positions], doc_ids: Iterable[str | int]) -> Positions:
    """Return the positions that `find_all` finds for ids, int64, (n,), in the same order.

    Args:
        find_all: Returns the positions of ids, -1 for those that are not there.
        doc_ids: The ids; an integer is taken as its text.

    Raises:
        QueryError: Some are not found, or are neither strings nor integers; or it is one id.
    """
    ids = id_texts(doc_ids)
    positions = find_all(ids)
    if (positions < 0).any():
        unknown = [ids[number] for number in np.flatnonzero(positions < 0)]
        raise QueryError(
            f"{len(unknown)} of {len(ids)} document ids are not in the index, such as {unknown[0]!r}: leave them out"
        )
    return positions


def id_texts(doc_ids: Iterable[str | int]) -> list[str]:
    """Return a collection of document ids as text.

    Raises:
        QueryError: It is one id, or some are neither strings nor integers.
    """
    if isinstance(doc_ids, str | bytes) or not isinstance(doc_ids, Iterable):
        raise QueryError(f"got doc_ids = {doc_ids!r}, expected a collection of document ids, such as [{doc_ids!r}]")
    return [id_text(doc_id) for doc_id in doc_ids]


def id_text(doc_id: object) -> str:
    """Return a document id as text: an integer, also one of NumPy, is taken as its text.

    Raises:
        QueryError: It is neither a string nor an integer.
    """
    if isinstance(doc_id, str):
        return doc_id
    if isinstance(doc_id, int | np.integer) and not isinstance(doc_id, bool):
        return str(int(doc_id))
    raise QueryError(f"got the document id {doc_id!r}, expected a string or an integer")


def write_lookup(path: Path, ids: Iterable[str], n_ids: int) -> None:
    """Write the table that `IdTable` searches: 16 bytes for each id, sorted in the file.

    The space is allocated first, by writing zeros: a full disk then raises an error instead of ending the process.
    """
    with open(path, "wb") as file:
        for start in range(0, n_ids, _ZEROED_AT_ONCE):
            file.write(bytes(_LOOKUP_ENTRY.itemsize * min(_ZEROED_AT_ONCE, n_ids - start)))
        flush_to_disk(file)
    table = np.memmap(path, dtype=_LOOKUP_ENTRY, mode="r+", shape=(n_ids,))
    for position, doc_id in enumerate(ids):
        table[position] = (_id_hash(doc_id), position)
    table.sort(order=("hash", "position"))
    table.flush()


def _id_hash(doc_id: str) -> int:
    """Return a 64-bit hash of a document id that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _memory_map(path: Path, dtype: np.dtype) -> NDArray:  # type: ignore[type-arg]
    # As a plain array: every access to a memmap creates another memmap object, which is slow. As a string: NumPy
    # resolves a `Path`, which takes most of the time.
    return np.asarray(np.memmap(str(path), dtype=dtype, mode="r"))
