"""Selection of the fields of records that are kept as metadata, with the types that a user declared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from elasticdenser.datasets.metadata.types import FieldType
from elasticdenser.datasets.metadata.values import Metadata, plain_value
from elasticdenser.datasets.records import BadLine, Record, parsed_raw
from elasticdenser.errors import BadInputError

ALL = "all"
"""Spelling that keeps all fields."""

NESTED = "metadata"
"""Field of BEIR corpora and other tools whose value is an object: its fields are read like those of the record."""

_NOTHING: Record = {}


@dataclass(frozen=True, slots=True)
class MetadataSelection:
    """Fields that are kept as metadata.

    Attributes:
        types: The named fields, with their types where they were declared.
        keeps_all: Whether all other fields are kept, too.
        known: Fields that the index has which the records are added to, with their types. They are kept as if they had
            been named, but records need not have them.
        is_addition: Whether the records are added to such an index, which may have no fields.
    """

    types: Mapping[str, FieldType | None] = field(default_factory=dict)
    keeps_all: bool = False
    known: Mapping[str, FieldType] = field(default_factory=dict)
    is_addition: bool = False

    @classmethod
    def parse(cls, selection: AnySelection) -> MetadataSelection:
        """Return a selection in any of its forms.

        Args:
            selection: `section,date:date,tags:text[]`, a list of such names, or a mapping of names to types, which are
                None where they are inferred; `all` keeps all fields. None keeps none.

        Raises:
            BadInputError: A name is empty or given twice, or there is no such type.
        """
        if isinstance(selection, MetadataSelection):
            return selection
        if selection is None:
            return cls()
        if isinstance(selection, Mapping):
            pairs = [(str(name), kind if kind is None else str(kind)) for name, kind in selection.items()]
        elif not isinstance(selection, Iterable):
            raise BadInputError(f"got the metadata {selection!r}: write section,date:date,tags:text[]")
        else:
            items = selection.split(",") if isinstance(selection, str) else list(selection)
            pairs = [_split(str(item).strip()) for item in items]
        types: dict[str, FieldType | None] = {}
        for name, kind in pairs:
            if not name or name in types:
                fault = f"the field {name!r} twice" if name else "a field without a name"
                raise BadInputError(f"got {fault} in the metadata {selection!r}: write section,date:date,tags:text[]")
            try:
                types[name] = None if kind is None else FieldType.parse(kind)
            except ValueError as error:
                raise BadInputError(f"metadata field {name!r}: {error}") from None
        keeps_all = not isinstance(selection, Mapping) and ALL in types and types[ALL] is None
        if keeps_all:
            del types[ALL]
        return cls(types, keeps_all)

    def with_known(self, known: Mapping[str, FieldType]) -> MetadataSelection:
        """Return the same selection, for records that are added to an index with some fields.

        Raises:
            BadInputError: A field was declared with another type than it has in the index.
        """
        for name, kind in known.items():
            declared = self.types.get(name)
            if declared not in (None, kind):
                raise BadInputError(
                    f"got the metadata field {name!r} as {declared}, expected {kind}, which it is in the index: leave "
                    "the type out"
                )
        return replace(self, known=dict(known), is_addition=True)

    def __bool__(self) -> bool:
        return self.is_chosen or bool(self.known)

    @property
    def is_chosen(self) -> bool:
        """Whether a user named fields, or all."""
        return self.keeps_all or bool(self.types)

    @property
    def declared(self) -> dict[str, FieldType]:
        """The types that are known before records are read."""
        return {**self.known, **{name: kind for name, kind in self.types.items() if kind is not None}}

    def names_among(self, names: Iterable[str], used: Collection[str]) -> list[str]:
        """Return those of some names that are kept.

        Args:
            names: Names of fields or columns.
            used: Names that hold id, text or title; they are kept only if they are named.
        """
        return [
            name for name in names if name in self.types or name in self.known or (self.keeps_all and name not in used)
        ]


AnySelection = MetadataSelection | str | Iterable[str] | Mapping[str, FieldType | str | None] | None
"""Forms of a selection that `MetadataSelection.parse` takes."""


class MetadataReader:
    """Reader of the metadata of records.

    Args:
        selection: The fields to keep.
        used: Names of the fields that hold id, text and title.
    """

    def __init__(self, selection: MetadataSelection, used: Collection[str]) -> None:
        self._selection, self._used = selection, used

    def fields_of(self, record: Record) -> Iterator[tuple[str, Any]]:
        """Yield name and value of the fields of a record that are kept, those of a nested object `metadata` last."""
        nested = nested_fields(record)
        for name in self._selection.names_among(record, self._used):
            if name != NESTED or nested is _NOTHING:
                yield name, record[name]
        for name in self._selection.names_among(nested, ()):
            if name not in record:
                yield name, nested[name]

    def metadata(self, doc_id: str, fields: Iterable[tuple[str, Any]]) -> Metadata | None:
        """Return the values of fields, of the types that were declared; None if there are none.

        With `all`, objects and other values that metadata cannot hold are left out unless the field is named.

        Raises:
            BadLine: A value is not of its field's type.
        """
        selection, values = self._selection, {}
        for name, raw in fields:
            kind = selection.types.get(name) or selection.known.get(name)
            try:
                value = plain_value(raw)
                if value is None:
                    continue
                if kind is not None:
                    value = kind.typed(value)
                elif isinstance(value, list):
                    FieldType.of(value)  # refuses lists of several types
                values[name] = value
            except ValueError as error:
                if name in selection.known:
                    raise _unlike_index(doc_id, name, error, selection.known[name]) from None
                if name in selection.types:
                    raise bad_value(doc_id, name, error) from None
        return values or None


def bad_value(doc_id: str, name: str, error: object, kind: str = "text") -> BadLine:
    """Return the fault of a value that is not of its field's type."""
    return BadLine(
        "bad metadata",
        f"record {doc_id!r}, field {name!r}: {error}; correct it, or declare another type (--metadata {name}:{kind})",
    )


def unknown_fields(doc_id: str, names: Iterable[str], known: Collection[str]) -> BadLine:
    """Return the fault of a passage that brings fields which the index does not have."""
    has = f"has {', '.join(map(repr, known))}" if known else "has none"
    return BadLine(
        "unknown metadata",
        f"record {doc_id!r}: got the metadata {', '.join(map(repr, names))}, which the index does not have (it {has}): "
        "correct the name, or add new fields by name with `elasticdenser add --metadata` (in Python: metadata=)",
    )


def _unlike_index(doc_id: str, name: str, error: object, kind: FieldType) -> BadLine:
    """Return the fault of a value that is not of the type that its field has in the index."""
    return BadLine(
        "bad metadata", f"record {doc_id!r}, field {name!r}: {error}; correct it: the index has it as {kind}"
    )


def _split(item: str) -> tuple[str, str | None]:
    """Return the name and the type, if there is one, of `name:type`."""
    name, colon, kind = item.rpartition(":")
    return (name.strip(), kind.strip()) if colon else (item, None)


def nested_fields(record: Record) -> Record:
    """Return the object in the field `metadata`; an empty one if there is none."""
    value = record.get(NESTED)
    if isinstance(value, msgspec.Raw):
        if bytes(memoryview(value)[:1]) != b"{":
            return _NOTHING
        value = parsed_raw(value)
    return value if isinstance(value, Mapping) else _NOTHING
