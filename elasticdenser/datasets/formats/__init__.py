"""Formats of text files with one record a line: passages of corpora, and queries.

A new format is one file with a class that satisfies `LineFormat`, and one line in `registry`.
"""

from elasticdenser.datasets.formats.base import LineFormat
from elasticdenser.datasets.formats.registry import LINE_FORMATS, format_of

__all__ = ["LINE_FORMATS", "LineFormat", "format_of"]
