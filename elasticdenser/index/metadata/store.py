"""Metadata of an opened index: shown passage by passage, and filtered."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.errors import IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.filters import Filter
from elasticdenser.index.filters.sql import clause_of
from elasticdenser.index.line_files import LineFile
from elasticdenser.index.metadata.matches import MatchCache, Matches
from elasticdenser.index.metadata.table import columns_of

_DECODER = msgspec.json.Decoder(dict[str, str | bool | int | float | list[str | bool | int | float]])


class MetadataStore:
    """Metadata of the passages of one sealed index; safe to use from several threads.

    Args:
        folder: The index.
        n_passages: Number of its passages.
        fields: Types of the fields, as the manifest spells them, by name; None without metadata.

    Attributes:
        fields: Types of the fields by name.

    Raises:
        IndexFormatError: Files do not belong together.
    """

    def __init__(self, folder: Path, n_passages: int, fields: Mapping[str, str] | None) -> None:
        self._folder, self._n_passages, self._columns = folder, n_passages, columns_of(fields or {})
        self.fields: dict[str, FieldType] = {name: self._columns[name].type for name in fields or {}}
        self._lines = LineFile(folder / layout.METADATA, folder / layout.METADATA_OFFSETS) if fields else None
        self._cache = MatchCache()

    def at(self, position: int) -> dict[str, Any]:
        """Return the metadata of a passage; empty if it has none.

        Raises:
            IndexFormatError: The line of the passage is damaged.
        """
        if self._lines is None:
            return {}
        try:
            return _DECODER.decode(self._lines[position])
        except msgspec.DecodeError as error:
            raise self._damaged(layout.METADATA, f"passage {position} cannot be read: {error}") from None

    def matches(self, filter: Filter) -> Matches:
        """Return the passages that meet a filter.

        Args:
            filter: A filter that `check_filter` accepted. No passage has a value in fields that this index lacks, which
                other segments may have.

        Raises:
            IndexFormatError: The table is damaged.
        """
        return self._cache.get(filter, self._evaluate)

    def _evaluate(self, filter: Filter) -> NDArray[np.bool_]:
        clause = clause_of(filter, self._columns)
        mask = np.zeros(self._n_passages, np.bool_)
        if self._lines is None:  # no passage has any value
            with closing(sqlite3.connect(":memory:")) as database:
                mask[:] = database.execute(f"SELECT {clause.sql}", clause.parameters).fetchone()[0]
            return mask
        path = self._folder / layout.METADATA_TABLE
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
                # One long text is read much faster than many rows.
                query = f"SELECT group_concat(position) FROM passages WHERE {clause.sql}"
                (listed,) = database.execute(query, clause.parameters).fetchone()
        except sqlite3.Error as error:
            raise self._damaged(layout.METADATA_TABLE, str(error)) from None
        positions = np.fromstring(listed or "", np.int64, sep=",")
        if len(positions) and not 0 <= positions.min() <= positions.max() < self._n_passages:
            raise self._damaged(layout.METADATA_TABLE, f"it names positions beyond {self._n_passages - 1:,}")
        mask[positions] = True
        return mask

    def _damaged(self, name: str, reason: str) -> IndexFormatError:
        return IndexFormatError(
            f"{self._folder / name} is damaged ({reason}): restore the index from a copy, or build it again with "
            "--overwrite"
        )
