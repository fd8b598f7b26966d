"""Registry of the file formats of records, by name and by suffix."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.datasets.files import text_suffix
from elasticdenser.datasets.formats.base import LineFormat, RecordFormat
from elasticdenser.datasets.formats.csv import CommaSeparated
from elasticdenser.datasets.formats.html import Html
from elasticdenser.datasets.formats.jsonl import JsonLines
from elasticdenser.datasets.formats.lines import PlainLines
from elasticdenser.datasets.formats.markdown import Markdown
from elasticdenser.datasets.formats.parquet import Parquet
from elasticdenser.datasets.formats.pdf import Pdf
from elasticdenser.datasets.formats.tsv import TabSeparated
from elasticdenser.datasets.formats.whole_text import WholeText

RECORD_FORMATS: dict[str, type[RecordFormat]] = {
    record_format.name: record_format
    for record_format in (
        JsonLines,
        TabSeparated,
        CommaSeparated,
        Parquet,
        PlainLines,
        WholeText,
        Markdown,
        Html,
        Pdf,
    )
}

LINE_FORMATS: dict[str, type[LineFormat]] = {
    line_format.name: line_format for line_format in (JsonLines, TabSeparated, PlainLines)
}
"""Those whose files can be cut between lines."""

_BY_SUFFIX = {suffix: record_format for record_format in RECORD_FORMATS.values() for suffix in record_format.suffixes}


def format_of(path: str | Path) -> type[RecordFormat] | None:
    """Return the format that a file's name indicates, or None if it indicates none."""
    return _BY_SUFFIX.get(text_suffix(path))
