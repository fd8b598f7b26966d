"""Inference of the types of metadata fields from their values."""

from __future__ import annotations

from collections.abc import Mapping

from elasticdenser.datasets.metadata.selection import bad_value
from elasticdenser.datasets.metadata.types import FieldType
from elasticdenser.datasets.metadata.values import Metadata, described
from elasticdenser.datasets.records import BadLine

_MAX_FIELDS = 1000
"""Fields of an index; SQLite holds at most 2,000 columns."""


class MetadataInference:
    """Types of fields, inferred from values as they are read.

    A field whose text is always written as a date is one of dates. Otherwise the first value of a field decides, and a
    later value of another type is an error.

    Args:
        declared: Types that are known; values of these fields are not looked at, because readers have checked them.
    """

    def __init__(self, declared: Mapping[str, FieldType]) -> None:
        self._declared, self._types = declared, dict(declared)

    @property
    def types(self) -> dict[str, FieldType]:
        """The types by field: the declared ones, then the others in the order in which they were found."""
        return dict(self._types)

    def add(self, doc_id: str, metadata: Metadata) -> None:
        """Take the values of a passage into account.

        Raises:
            BadLine: A value is of another type than those before it, or there are too many fields.
        """
        for name, value in metadata.items():
            if name in self._declared:
                continue
            found, known = FieldType.of(value), self._types.get(name)
            joined = None if known is None else known.joined(found)
            if known is not None and joined is None:
                got = f"a list of {found.kind}" if found.is_list else described(value)
                expected = f"expected {known.expected}, as in earlier records"
                kind = "text[]" if found.is_list or known.is_list else "text"
                raise bad_value(doc_id, name, f"got {got}, {expected}", kind)
            self._types[name] = joined or found
        if len(self._types) > _MAX_FIELDS:
            raise BadLine(
                "bad metadata",
                f"record {doc_id!r}: got more than {_MAX_FIELDS:,} different fields of metadata: name those to keep, "
                "such as --metadata section,date",
            )
