"""Plain text: every file is a passage, with its path as the id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from elasticdenser.datasets.files import read_text
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema


class WholeText:
    """One text a file; a `RecordFormat`. Files that hold nothing are left out, as blank lines are elsewhere."""

    name: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = ()
    has_fields: ClassVar[bool] = False

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record | BadLine]]:
        """Yield the text of a file, unless it is blank."""
        if text := read_text(path).strip():
            yield 1, {schema.id.names[0]: prefix, schema.text.names[0]: text}
