"""Comma-separated values (RFC 4180) with a header; also separated by semicolons, as some spreadsheets write them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import ClassVar

from elasticdenser.datasets import files
from elasticdenser.datasets.files import not_utf8, read_raw_lines
from elasticdenser.datasets.formats.tsv import is_header, numbered
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema, check_columns, column_names
from elasticdenser.errors import BadInputError

_NO_HEADER = (
    "expected a header with the names of the columns, such as id,text,title: add one, name its columns (--id, --text), "
    "or give their numbers (--id 1 --text 2)"
)


class CommaSeparated:
    """Columns separated by commas or semicolons, quoted where needed; a `RecordFormat`."""

    name: ClassVar[str] = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = False

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the rows of a file as records; each has the number of the line in which it begins."""
        csv.field_size_limit(max(csv.field_size_limit(), files.MAX_LINE_BYTES))
        names: list[str] | None = None
        is_first = True
        for number, row in _rows(path):
            if is_first and not isinstance(row, BadLine):
                is_first = False
                if is_header(row, schema):
                    names = column_names(row, schema)
                    check_columns(names, schema, path)
                    continue
                if not schema.chosen:
                    raise BadInputError(f"got the columns {', '.join(row)[:80]!r}, {_NO_HEADER}", path, number)
            yield number, row if isinstance(row, BadLine) else _record(row, names, schema)


def _record(row: list[str], names: list[str] | None, schema: Schema) -> Record | BadLine:
    if names is not None and len(row) != len(names):
        message = f"got {len(row)} columns, expected {len(names)} as in the header: quote fields that hold a separator"
        return BadLine("wrong number of columns", message)
    record = numbered(row) if names is None else dict(zip(names, row, strict=True))
    for name in schema.id.names:
        if name in record:
            record[name] = record[name].strip()
    return record


def _rows(path: str) -> Iterator[tuple[int, list[str] | BadLine]]:
    """Yield the rows that are not blank, or their faults."""
    lines = _Lines(path)
    first = next(lines, "")
    separator = max(",;\t", key=first.count)
    reader = csv.reader(_chained(first, lines), delimiter=separator, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.at_end:
                message = f"a quote opened in this row is not closed ({error}): close it, or double it inside fields"
                raise BadInputError(message, path, lines.first) from error
            yield lines.first, BadLine("not CSV", f"cannot be split into columns ({error}): check its quotes")
        else:
            if lines.fault is not None:
                yield lines.first, lines.fault
            elif any(column.strip() for column in row):
                yield lines.first, row
        lines.start_row()


def _chained(first: str, lines: _Lines) -> Iterator[str]:
    if first:
        yield first
    yield from lines


class _Lines:
    """Lines of a file, for the parser, with the place of the row that is being parsed.

    Attributes:
        first: Number of the line in which the row begins.
        at_end: Whether the file has ended.
        fault: Fault of a line of the row, if one is not UTF-8.
    """

    def __init__(self, path: str) -> None:
        self._path, self._lines = path, read_raw_lines(path)
        self.first, self.at_end = 1, False
        self.fault: BadLine | None = None
        self._number, self._n_bytes = 0, 0

    def start_row(self) -> None:
        self.first = self._number + 1
        self.fault, self._n_bytes = None, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            self._number, raw = next(self._lines)
        except StopIteration:
            self.at_end = True
            raise
        self._n_bytes += len(raw)
        if self._n_bytes > files.MAX_LINE_BYTES:
            message = f"the row is longer than {files.MAX_LINE_BYTES >> 20} MiB: close its quotes"
            raise BadInputError(message, self._path, self.first)
        try:
            return raw.decode("utf-8") + "\n"
        except UnicodeDecodeError as error:
            self.fault = BadLine("not UTF-8", not_utf8(error))
            return raw.decode("utf-8", "replace") + "\n"
