"""File formats of records: passages of corpora, and queries.

To add a format, add one file with a class that satisfies `RecordFormat`, and one line in `registry`.
"""

from elasticdenser.datasets.formats.base import RecordFormat
from elasticdenser.datasets.formats.registry import RECORD_FORMATS, format_of

__all__ = ["RECORD_FORMATS", "RecordFormat", "format_of"]
