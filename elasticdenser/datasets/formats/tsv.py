r"""Tab-separated values: `id \t text [\t title]` for passages, `id \t text` for queries."""

from __future__ import annotations

from typing import ClassVar

from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import BadLine, QueryRecord, checked_id, checked_passage, checked_query

_DPR_HEADER = "id\ttext\ttitle"


class TabSeparated:
    """Tab-separated columns; a `LineFormat`.

    The three-column files of DPR were written by a CSV writer: where a field of such a line is quoted in full, the
    quotes are removed.
    """

    name: ClassVar[str] = "tsv"
    suffixes: ClassVar[tuple[str, ...]] = (".tsv",)

    @staticmethod
    def parse_passage(line: str, number: int, prefix: str) -> Passage | None:
        """Return the passage of a line, or None for the header of DPR's files."""
        if number == 1 and line == _DPR_HEADER:
            return None
        columns = line.split("\t")
        if len(columns) not in (2, 3):
            message = f"got {len(columns)} tab-separated columns, expected id, text and at most a title"
            raise BadLine("wrong number of columns", message)
        doc_id, text, title = columns if len(columns) == 3 else (*columns, "")
        if len(columns) == 3:
            text, title = unquoted(text), unquoted(title)
        return checked_passage(checked_id(doc_id), text, title)

    @staticmethod
    def parse_query(line: str, number: int, prefix: str) -> QueryRecord:
        """Return the query of a line."""
        columns = line.split("\t")
        if len(columns) != 2:
            message = f"got {len(columns)} tab-separated columns, expected the query's id and its text"
            raise BadLine("wrong number of columns", message)
        return checked_query(checked_id(columns[0]), columns[1])


def unquoted(field: str) -> str:
    """Undo the quoting of a CSV writer, where a field is quoted in full and has doubled quotes inside."""
    if len(field) < 4 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    if '""' not in inner or '"' in inner.replace('""', ""):
        return field
    return inner.replace('""', '"')
