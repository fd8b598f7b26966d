"""Metadata of a segment: shown passage by passage, and filtered."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import msgspec
import numpy as np
from numpy.typing import NDArray

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.errors import IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.filters import Filter
from elasticdenser.index.filters.sql import clause_of
from elasticdenser.index.line_files import LineFile
from elasticdenser.index.metadata.table import columns_of

_DECODER = msgspec.json.Decoder(dict[str, str | bool | int | float | list[str | bool | int | float]])


_MAPPED_BYTES = 1 << 40
"""More than a table has; SQLite maps as much as it can."""


class MetadataStore:
    """Metadata of the passages of one segment, deleted ones included; safe to use from several threads.

    Its files are opened at once, so that they remain readable when a later generation removes them.

    Args:
        folder: The segment.
        n_passages: Number of its passages.
        fields: Types of the fields, as the manifest spells them, by name; empty without metadata.

    Attributes:
        fields: Types of the fields by name.
        lines: Metadata of each passage in JSON; None without metadata.

    Raises:
        IndexFormatError: Files are missing, or do not belong together.
    """

    def __init__(self, folder: Path, n_passages: int, fields: Mapping[str, str]) -> None:
        self._folder, self._n_passages, self._columns = folder, n_passages, columns_of(fields)
        self._table = folder / layout.METADATA_TABLE
        self.fields: dict[str, FieldType] = {name: self._columns[name].type for name in fields}
        self.lines = LineFile(folder / layout.METADATA, folder / layout.METADATA_OFFSETS) if fields else None
        self._database = self._connect(f"{self._table.absolute().as_uri()}?mode=ro&immutable=1") if fields else None
        self._lock = Lock()
        if self._database is not None:
            finalize(self, self._database.close)

    def at(self, row: int) -> dict[str, Any]:
        """Return the metadata of a passage; empty if it has none.

        Raises:
            IndexFormatError: The line of the passage is damaged.
        """
        if self.lines is None:
            return {}
        try:
            return _DECODER.decode(self.lines[row])
        except msgspec.DecodeError as error:
            raise self._damaged(layout.METADATA, f"passage {row} cannot be read: {error}") from None

    def mask(self, filter: Filter) -> NDArray[np.bool_]:
        """Tell which passages meet a filter: bool, (n_passages,).

        Args:
            filter: A filter that `check_filter` accepted. No passage has a value in fields that this segment lacks,
                which others may have.

        Raises:
            IndexFormatError: The table is damaged.
        """
        clause = clause_of(filter, self._columns)
        mask = np.zeros(self._n_passages, np.bool_)
        if self._database is None:  # no passage has any value: all meet the filter, or none
            with closing(self._connect("file::memory:")) as nothing:
                mask[:] = self._value(nothing, f"SELECT {clause.sql}", clause.parameters)
            return mask
        # One long text is read much faster than many rows.
        query = f"SELECT group_concat(position) FROM passages WHERE {clause.sql}"
        with self._lock:
            listed = self._value(self._database, query, clause.parameters)
        positions = np.fromstring(listed or "", np.int64, sep=",")
        if len(positions) and not 0 <= positions.min() <= positions.max() < self._n_passages:
            raise self._damaged(layout.METADATA_TABLE, f"it names positions beyond {self._n_passages - 1:,}")
        mask[positions] = True
        return mask

    def _connect(self, uri: str) -> sqlite3.Connection:
        try:
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            # Forked processes would share the position in a file that is read instead of mapped.
            database.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
            return database
        except sqlite3.Error as error:
            raise self._damaged(layout.METADATA_TABLE, str(error)) from None

    def _value(self, database: sqlite3.Connection, query: str, parameters: tuple[Any, ...]) -> Any:
        """Return the only value that a query has as its result."""
        try:
            (value,) = database.execute(query, parameters).fetchone()
        except sqlite3.Error as error:
            raise self._damaged(layout.METADATA_TABLE, str(error)) from None
        return value

    def _damaged(self, name: str, reason: str) -> IndexFormatError:
        return IndexFormatError(
            f"{self._folder / name} is damaged ({reason}): restore the index from a copy, or build it again with "
            "--overwrite"
        )
