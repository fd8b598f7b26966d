"""The formats with one record a line, by name and by suffix."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.datasets.files import text_suffix
from elasticdenser.datasets.formats.base import LineFormat
from elasticdenser.datasets.formats.jsonl import JsonLines
from elasticdenser.datasets.formats.lines import PlainLines
from elasticdenser.datasets.formats.tsv import TabSeparated

LINE_FORMATS: dict[str, type[LineFormat]] = {
    line_format.name: line_format
    for line_format in (
        JsonLines,
        TabSeparated,
        PlainLines,
    )
}

_BY_SUFFIX = {suffix: line_format for line_format in LINE_FORMATS.values() for suffix in line_format.suffixes}


def format_of(path: str | Path) -> type[LineFormat] | None:
    """Return the format that a file's name indicates, or None if it indicates none."""
    return _BY_SUFFIX.get(text_suffix(path))
