r"""Tab-separated values: `id \t text [\t title]` for passages, `id \t text` for queries; or columns with a header."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

from elasticdenser.datasets.formats.base import text_lines
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import PASSAGES, QUERIES, Schema, check_columns, column_names

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,40}")
_ID_NAMES = {*PASSAGES.id.names, *QUERIES.id.names, "query-id", "corpus-id"}
_LIKE_NAME = re.compile(
    r"(.*[_-])?(id|text|title|passage|body|query|question|document|abstract|contents?)", re.IGNORECASE
)


class TabSeparated:
    """Tab-separated columns; a `LineFormat`.

    The first line is a header if a user named columns, or if all its columns are names, one of them that of an id. The
    three-column files of DPR were written by a CSV writer: where a field of such a line is quoted in full, the quotes
    are removed.
    """

    name: ClassVar[str] = "tsv"
    suffixes: ClassVar[tuple[str, ...]] = (".tsv",)
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = False

    @staticmethod
    def has_lines(path: str) -> bool:
        """Return whether the records of a file are its lines."""
        return True

    @staticmethod
    def records(
        path: str, prefix: str, schema: Schema, within: PartRange | None = None
    ) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the lines of a file, or of a range of its lines as records."""
        is_first = within is None or within.start == 0
        names = None if is_first else _names_in_header(path, schema)
        for number, line in text_lines(path, within):
            if isinstance(line, BadLine):
                yield number, line
                continue
            columns = line.split("\t")
            if is_first:
                is_first = False
                if is_header(columns, schema):
                    names = column_names(columns, schema)
                    check_columns(names, schema, path)
                    continue
                _warn_of_header(path, number, tuple(columns))
            yield number, _record(columns, names, schema)


def _names_in_header(path: str, schema: Schema) -> list[str] | None:
    """Return the names of the columns of a file of which only a later range is read; None if it has no header."""
    first = next((line for _, line in text_lines(path) if isinstance(line, str)), "").split("\t")
    return column_names(first, schema) if is_header(first, schema) else None


def is_header(columns: Sequence[str], schema: Schema) -> bool:
    """Return whether the first line of a file holds the names of its columns."""
    if schema.chosen:
        return not all(name.isdecimal() for name in schema.chosen)
    return looks_like_names(columns) and any(column.strip().lower() in _ID_NAMES for column in columns)


def looks_like_names(columns: Sequence[str]) -> bool:
    """Return whether all columns of a line could be names of columns."""
    return len(columns) > 1 and all(_NAME.fullmatch(column.strip()) for column in columns)


def numbered(columns: Sequence[str]) -> dict[str, str]:
    """Return the columns of a line by their number, from 1."""
    return {str(number): column for number, column in enumerate(columns, start=1)}


def _record(columns: list[str], names: list[str] | None, schema: Schema) -> Record | BadLine:
    if names is not None:
        expected = f"expected {len(names)} as in the header"
        is_wrong = len(columns) != len(names)
    elif schema.chosen:
        return _without_blanks(numbered(columns), schema)
    else:
        names = [role.names[0] for role in schema.roles if role.names]
        expected = (
            "expected id, text and at most a title" if len(names) == 3 else "expected the query's id and its text"
        )
        is_wrong = not 2 <= len(columns) <= len(names)
    if is_wrong:
        hint = "" if len(names) == 2 else "; for other columns give a header, or their numbers (--id 1 --text 4)"
        message = f"got {len(columns)} tab-separated columns, {expected}{hint}"
        return BadLine("wrong number of columns", message)
    if len(columns) >= 3:
        columns = [unquoted(column) for column in columns]
    return _without_blanks(dict(zip(names, columns, strict=False)), schema)


def _without_blanks(record: dict[str, str], schema: Schema) -> Record:
    """Remove the blanks around the id, which are none of it."""
    for name in schema.id.names:
        if name in record:
            record[name] = record[name].strip()
    return record


@functools.cache  # a corpus is read twice
def _warn_of_header(path: str, number: int, columns: tuple[str, ...]) -> None:
    if looks_like_names(columns) and any(_LIKE_NAME.fullmatch(column.strip()) for column in columns):
        message = "%s:%d: %s looks like a header, but is read as a record: name its columns (--id, --text) or remove it"
        logger.warning(message, path, number, " ".join(columns))


def unquoted(field: str) -> str:
    """Undo the quoting of a CSV writer, where a field is quoted in full and has doubled quotes inside."""
    if len(field) < 4 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    if '""' not in inner or '"' in inner.replace('""', ""):
        return field
    return inner.replace('""', '"')
