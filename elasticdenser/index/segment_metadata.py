"""Metadata of all segments of an index, by position, without the deleted passages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.index.filters import Filter
from elasticdenser.index.metadata.matches import IndexMatches, MatchCache, Matches
from elasticdenser.index.tables import SegmentTable


class SegmentMetadata:
    """Metadata of the passages of one generation; safe to use from several threads.

    Args:
        table: The segments.
        fields: Types of the fields by name. A segment may lack some: its passages have no value in them.

    Attributes:
        fields: Types of the fields by name.
    """

    def __init__(self, table: SegmentTable, fields: Mapping[str, FieldType]) -> None:
        self._table, self.fields = table, dict(fields)
        self._cache = MatchCache()

    def at(self, position: int) -> dict[str, Any]:
        """Return the metadata of a passage; empty if it has none.

        Raises:
            IndexFormatError: The line of the passage is damaged.
        """
        if not self.fields:
            return {}
        segment, row = self._table.place(position)
        return segment.files.metadata.at(row)

    def matches(self, filter: Filter) -> IndexMatches:
        """Return the passages that meet a filter that `check_filter` accepted; those of the last filters are kept.

        Raises:
            IndexFormatError: A table is damaged.
        """
        return self._cache.get(filter, self._evaluate)

    def matches_of(self, mask: NDArray[np.bool_]) -> IndexMatches:
        """Return the passages of a mask, bool, (n_passages,), by position."""
        by_segment = []
        for number, segment in enumerate(self._table.segments):
            start = self._table.start(number)
            rows = np.zeros(segment.n_rows, np.bool_)
            rows[segment.is_left] = mask[start : start + len(segment)]
            by_segment.append(Matches(rows))
        return IndexMatches(mask, by_segment)

    def _evaluate(self, filter: Filter) -> IndexMatches:
        masks, by_segment = [np.empty(0, np.bool_)], []
        for segment in self._table.segments:
            mask = segment.files.metadata.mask(filter)
            masks.append(mask[segment.is_left] if len(segment.deleted) else mask)
            mask[segment.deleted] = False
            by_segment.append(Matches(mask))
        return IndexMatches(masks[1] if len(masks) == 2 else np.concatenate(masks), by_segment)
