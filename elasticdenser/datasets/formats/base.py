"""Protocol of a file format of records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from elasticdenser.datasets.files import not_utf8, read_raw_lines
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema


class RecordFormat(Protocol):
    """Format of files of records: passages of a corpus, or queries.

    Attributes:
        name: Spelling of the format, such as `jsonl`.
        suffixes: Suffixes of its files, before that of a compression.
        has_fields: Whether its records have fields, which a user can name.
        is_document: Whether a file is one document, whose records are its parts, with ids made of its path.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    has_fields: ClassVar[bool]
    is_document: ClassVar[bool]

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the records of a file, each with its line number (or position) from 1; blank lines are skipped.

        Args:
            path: The file.
            prefix: Start of the ids of records without ids; the id of a document.
            schema: Names of the fields; a format without such names uses the first name of each role.

        Raises:
            BadInputError: The file as a whole cannot be read.
            BadDocument: The same for a document, which is then left out of a folder.
        """


class LineFormat(RecordFormat, Protocol):
    """Format with a record on each line, whose files can be read in ranges of lines."""

    @staticmethod
    def has_lines(path: str) -> bool:
        """Return whether the records of a file are its lines."""

    @staticmethod
    def records(
        path: str, prefix: str, schema: Schema, within: PartRange | None = None
    ) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the records of a file, or of a range of its lines; see `RecordFormat.records`."""


def text_lines(path: str, within: PartRange | None = None) -> Iterator[tuple[int, str | BadLine]]:
    """Stream the lines of a file that are not blank, each with its number; one that is not UTF-8 is a bad line.

    Args:
        path: The file.
        within: The lines to read; None reads all.

    Raises:
        BadInputError: The file cannot be read.
    """
    for number, raw in read_raw_lines(path, within):
        if not raw or raw.isspace():
            continue
        try:
            yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            yield number, BadLine("not UTF-8", not_utf8(error))
