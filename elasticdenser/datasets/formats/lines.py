"""Plain text: every line is a passage or a query, with an id made of the file's name and the line's number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from elasticdenser.datasets.formats.base import text_lines
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema


class PlainLines:
    """One text a line, without ids; a `LineFormat`."""

    name: ClassVar[str] = "lines"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    has_fields: ClassVar[bool] = False
    is_document: ClassVar[bool] = False

    @staticmethod
    def has_lines(path: str) -> bool:
        """Return whether the records of a file are its lines."""
        return True

    @staticmethod
    def records(
        path: str, prefix: str, schema: Schema, within: PartRange | None = None
    ) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the lines of a file, or of a range of its lines."""
        id_name, text_name = schema.id.names[0], schema.text.names[0]
        for number, line in text_lines(path, within):
            yield (
                number,
                (line if isinstance(line, BadLine) else {id_name: f"{prefix}-{number}", text_name: line.strip()}),
            )
