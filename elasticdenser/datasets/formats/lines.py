"""Plain text: every line is a passage or a query, with an id made of the file's name and the line's number."""

from __future__ import annotations

from typing import ClassVar

from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import QueryRecord, checked_id, checked_passage, checked_query


class PlainLines:
    """One text a line, without ids; a `LineFormat`."""

    name: ClassVar[str] = "lines"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    @staticmethod
    def parse_passage(line: str, number: int, prefix: str) -> Passage:
        """Return the passage of a line."""
        return checked_passage(checked_id(f"{prefix}-{number}"), line.strip(), "")

    @staticmethod
    def parse_query(line: str, number: int, prefix: str) -> QueryRecord:
        """Return the query of a line."""
        return checked_query(checked_id(f"{prefix}-{number}"), line.strip())
