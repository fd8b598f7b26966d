"""Plain text: every file is a passage, with its path as the id and its name as the title."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from elasticdenser.datasets.documents import read_document
from elasticdenser.datasets.records import Record
from elasticdenser.datasets.schema import Schema
from elasticdenser.datasets.sections import title_of_name


class WholeText:
    """One text a file; a `RecordFormat`. Files that hold nothing are left out, as blank lines are elsewhere."""

    name: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = ()
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = True

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record]]:
        """Yield the text of a file, unless it is blank."""
        if text := read_document(path).strip():
            yield 1, {"_id": prefix, "title": title_of_name(prefix), "text": text}
