"""Protocol of a format with one record a line."""

from __future__ import annotations

from typing import ClassVar, Protocol

from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import QueryRecord


class LineFormat(Protocol):
    """A format of text files with one record a line; blank lines are skipped by the caller.

    Attributes:
        name: Spelling of the format, such as `jsonl`.
        suffixes: Suffixes of its files, before that of a compression.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @staticmethod
    def parse_passage(line: str, number: int, prefix: str) -> Passage | None:
        """Return the passage of a line, or None for a header; raise a BadLine if there is none.

        Args:
            line: The line, without its end.
            number: Number of the line in its file, from 1.
            prefix: Name of the file, for ids of a format that has none.
        """

    @staticmethod
    def parse_query(line: str, number: int, prefix: str) -> QueryRecord:
        """Return the query of a line; raise a BadLine if there is none. Arguments as for `parse_passage`."""
