"""File formats of records: passages of corpora, and queries.

To add a format, add one file with a class that satisfies `RecordFormat`, and one line in `registry`.
"""

from elasticdenser.datasets.formats.base import LineFormat, RecordFormat
from elasticdenser.datasets.formats.registry import LINE_FORMATS, RECORD_FORMATS, format_of

__all__ = ["LINE_FORMATS", "RECORD_FORMATS", "LineFormat", "RecordFormat", "format_of"]
