"""Random access to lines: ids and passages are memory-mapped, so that opening takes no time however many there are."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions
from elasticdenser.artifacts import flush_to_disk
from elasticdenser.errors import QueryError

_ZEROED_AT_ONCE = 1 << 16
"""Entries that are written at a time when the file is allocated: 1 MB."""

_LOOKUP_ENTRY = np.dtype([("hash", "<u8"), ("position", "<i8")])


class LineFile:
    """UTF-8 lines with the byte offset of each in a second file.

    Args:
        path: The lines, each ended by a line feed.
        offsets: Little-endian int64, the end of each line in bytes.
    """

    def __init__(self, path: Path, offsets: Path) -> None:
        self._ends = _memory_map(offsets, np.dtype("<i8"))
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> str:
        start = int(self._ends[position - 1]) if position else 0
        return self._bytes[start : int(self._ends[position]) - 1].decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        for position in range(len(self)):
            yield self[position]

    def take(self, positions: Positions) -> list[str]:
        """Return the lines at positions, int64, (n,), none below 0; faster than one after the other."""
        starts = np.where(positions > 0, self._ends[positions - 1], 0)
        ends = self._ends[positions] - 1
        content = self._bytes
        return [content[start:end].decode("utf-8") for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


class IdTable:
    """Document ids by position, and positions by document id.

    Args:
        lines: The ids in the order of the vectors.
        lookup: File of (hash, position), sorted by hash, as `write_lookup` writes it.
    """

    def __init__(self, lines: LineFile, lookup: Path) -> None:
        self._lines = lines
        self._lookup = _memory_map(lookup, _LOOKUP_ENTRY)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, position: int) -> str:
        return self._lines[position]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def take(self, positions: Positions) -> list[str]:
        """Return the ids at positions, int64, (n,), none below 0."""
        return self._lines.take(positions)

    def find(self, doc_id: str) -> int:
        """Return the position of `doc_id`, or -1."""
        wanted = np.uint64(_id_hash(doc_id))
        entry = int(np.searchsorted(self._lookup["hash"], wanted))
        while entry < len(self._lookup) and self._lookup["hash"][entry] == wanted:
            position = int(self._lookup["position"][entry])
            if self._lines[position] == doc_id:
                return position
            entry += 1
        return -1

    def positions(self, doc_ids: Iterable[str]) -> Positions:
        """Return the positions of `doc_ids`, int64, (n,), in the same order.

        Raises:
            QueryError: Some are not in the index.
        """
        ids = list(doc_ids)
        positions = np.fromiter((self.find(doc_id) for doc_id in ids), np.int64, len(ids))
        if (positions < 0).any():
            unknown = [ids[number] for number in np.flatnonzero(positions < 0)]
            raise QueryError(
                f"{len(unknown)} of {len(ids)} document ids are not in the index, such as {unknown[0]!r}: "
                "leave them out"
            )
        return positions


def write_lookup(path: Path, ids: Iterable[str], n_ids: int) -> None:
    """Write the table that `IdTable` searches: 16 bytes an id, sorted on disk.

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
    # As a plain array: every access to a memmap creates another memmap object, which is slow.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))
