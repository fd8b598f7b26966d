"""JSON: one object a line, as in BEIR (`{"_id", "title", "text"}`), or one array of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from elasticdenser.datasets.formats.base import text_lines
from elasticdenser.datasets.formats.json_array import array_elements, is_array
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.datasets.records import BadLine, Record, json_record
from elasticdenser.datasets.schema import Schema


class JsonLines:
    """One JSON object a line, or an array of them; a `LineFormat`. The fields may have several usual names."""

    name: ClassVar[str] = "jsonl"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".json", ".ndjson")
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = False

    @staticmethod
    def has_lines(path: str) -> bool:
        """Return whether the records of a file are its lines: they are not, in an array."""
        return not is_array(path)

    @staticmethod
    def records(
        path: str, prefix: str, schema: Schema, within: PartRange | None = None
    ) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the objects of a file, or of a range of its lines."""
        for number, line in array_elements(path) if is_array(path) else text_lines(path, within):
            record: Record | BadLine
            try:
                record = line if isinstance(line, BadLine) else json_record(line)
            except BadLine as error:
                record = error
            yield number, record
