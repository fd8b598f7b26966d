"""Passages and queries made of the fields of records, with a note of the fields that are not read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from elasticdenser.datasets.metadata.selection import NESTED, MetadataReader, nested_fields, unknown_fields
from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import (
    BadLine,
    QueryRecord,
    Record,
    checked_id,
    checked_passage,
    checked_query,
    parsed_raw,
    type_name,
)
from elasticdenser.datasets.schema import QUERIES, FieldsFound, Role, Schema, listed

_MAX_FIELDS_NOTED = 100
_EMPTY = {b"null", b'""', b"[]", b"{}"}
_JSON_VALUE = msgspec.json.Decoder(str | int | list[str] | None)


class PassageReader:
    """Reader of passages from records, which notes what it did not read.

    Args:
        schema: The roles of the fields.

    Attributes:
        n_read: Number of records.
        n_without_text: Number of records with a title, but without a field for the text.
        unread: Fields with a value that were not read.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.n_read = 0
        self.n_without_text = 0
        self.unread: dict[str, None] = {}
        self._found: dict[str, None] = {}
        self._missing = set(schema.chosen)
        self._expected: set[str] = set()
        self._read = {name for role in schema.roles for name in role.names}
        self._metadata_reader = MetadataReader(schema.metadata, self._read)
        if schema.metadata:
            self._read.update((NESTED, *schema.metadata.types, *schema.metadata.known))

    def passage(self, record: Record) -> Passage:
        """Return the passage of a record.

        Raises:
            BadLine: Id or text are missing or unusable.
        """
        schema = self.schema
        doc_id = _id_of(record, schema.id)
        title = _text_of(record, schema.title, " ")
        text = _text_of(record, schema.text, "\n")
        has_text = bool(text) or any(name in record for name in schema.text.names)
        if not has_text and (not title.strip() or (not schema.text.chosen and self._other_texts(record))):
            hint = "name the field of the text with --text (in Python: FieldNames)"
            raise BadLine("no text", f"{_no_field(record, schema.text)}: {hint}")
        metadata = self.metadata_of(doc_id, record) if schema.metadata else None
        self.n_read += 1
        self.n_without_text += not has_text
        self._note_fields(record, metadata or ())
        return checked_passage(doc_id, text, title, metadata)

    def metadata_of(self, doc_id: str, record: Record) -> Mapping[str, Any] | None:
        """Return the metadata of a record; None if it has none.

        Raises:
            BadLine: A value is not of its field's type.
        """
        fields = list(self._metadata_reader.fields_of(record))
        self._missing.difference_update(name for name, _ in fields)
        return self._metadata_reader.metadata(doc_id, fields)

    def checked_metadata(self, doc_id: str, metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the metadata of a passage that was made elsewhere; without a selection, all of it is kept.

        Raises:
            BadLine: A value is not of its field's type, metadata cannot hold it, or nobody has named the field, and the
                index that the passage is added to does not have it.
        """
        selection = self.schema.metadata
        if not selection.is_chosen:
            unknown = [name for name, value in metadata.items() if value is not None and name not in selection.known]
            if unknown and selection.is_addition:
                # One misspelt name would give the index a new field for good.
                raise unknown_fields(doc_id, unknown, selection.known)
            selection = replace(selection, types=dict.fromkeys(metadata))
        reader = MetadataReader(selection, ())
        return reader.metadata(doc_id, ((name, metadata[name]) for name in selection.names_among(metadata, ())))

    def expect(self, names: Iterable[str]) -> None:
        """Leave fields out of the remarks, because a format itself adds them to its records."""
        self._expected.update(names)

    @property
    def fields(self) -> FieldsFound:
        """Fields that the records had so far."""
        return FieldsFound(frozenset(self._found), frozenset(self._missing if self.n_read else ()))

    def remarks(self) -> list[str]:
        """Return what a user should know about fields that were not read."""
        remarks = []
        if self.unread:
            remarks.append(
                f"not read: {listed(self.unread)}; --text, --title and --id choose other fields, and join several "
                "(--text abstract+body); --metadata keeps fields to filter by"
            )
        if self.n_without_text:
            names = " or ".join(map(repr, self.schema.text.names))
            remarks.append(f"{self.n_without_text:,} of {self.n_read:,} records have no {names}, only a title")
        return remarks

    def _other_texts(self, record: Record) -> bool:
        return any(name not in self._read and _may_be_text(value) for name, value in record.items())

    def _note_fields(self, record: Record, kept: Collection[str]) -> None:
        found, nested = self._found, nested_fields(record)
        for name, value in ({**nested, **record} if nested else record).items():
            if name == NESTED and nested:
                continue
            if name not in found and len(found) < _MAX_FIELDS_NOTED:
                found[name] = None
            if name in self._read or name in kept or name in self.unread or len(self.unread) == _MAX_FIELDS_NOTED:
                continue
            if _has_value(value) and name not in self._expected:
                self.unread[name] = None
        if self._missing:
            self._missing.difference_update(record)


def query_of(record: Record) -> QueryRecord:
    """Return the query of a record, with its answers if it has any.

    Raises:
        BadLine: Id or text are missing or unusable.
    """
    query_id = _id_of(record, QUERIES.id)
    if not any(_value(record, name) is not None for name in QUERIES.text.names):
        raise BadLine("no text", f"{_no_field(record, QUERIES.text)}: rename the one that holds the query")
    return checked_query(query_id, _text_of(record, QUERIES.text, " "), _answers(record))


def _id_of(record: Record, role: Role) -> str:
    values = []
    for name in role.names:
        value = _value(record, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise BadLine("bad id", f"{name!r} is a {type_name(value)}, expected a string or an integer")
        values.append(checked_id(str(value)))
        if not role.chosen:
            break
    if not values or (role.chosen and len(values) < len(role.names)):
        hint = "give each record its own" + ("" if role is QUERIES.id else ", or name the field of the id with --id")
        raise BadLine("no id", f"{_no_field(record, role)}: {hint}")
    return "-".join(values)


def _text_of(record: Record, role: Role, joiner: str) -> str:
    """Return the text of a role, all fields joined if the user chose them; empty if there is none."""
    texts = []
    for name in role.names:
        if name not in record:
            continue
        text = _string(record, name, joiner if role.chosen else None)
        if text and (not role.chosen or text.strip()):
            texts.append(text)
            if not role.chosen and text.strip():
                break
    return joiner.join(texts) if role.chosen else (texts[-1] if texts else "")


def _string(record: Record, name: str, joiner: str | None) -> str:
    """Return a field as a string; numbers and lists of strings are taken only where a user chose the field."""
    value = _value(record, name)
    if value is None:
        return ""
    if joiner is not None and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if joiner is not None and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return joiner.join(value)
    if not isinstance(value, str):
        raise BadLine(f"bad {name}", f"{name!r} is a {type_name(value)}, expected a string")
    return value


def _value(record: Record, name: str) -> Any:
    """Return the value of a field, parsed; one of an unusable type stays as it is."""
    value = record.get(name)
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return _JSON_VALUE.decode(value)
    except msgspec.ValidationError:
        return value
    except msgspec.DecodeError:
        return parsed_raw(value)


def _answers(record: Record) -> list[str]:
    answers = _value(record, "answers")
    if answers is None:
        return []
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BadLine("bad answers", "'answers' is not a list of strings: write [\"...\", ...], or leave it out")
    return answers


def _may_be_text(value: object) -> bool:
    """Return whether a value holds letters that might be missed: no number, and not empty."""
    if isinstance(value, msgspec.Raw):
        return len(memoryview(value)) > 2 and bytes(memoryview(value)[:1]) in (b'"', b"[", b"{")
    return isinstance(value, str | list | dict) and bool(value)


def _has_value(value: object) -> bool:
    """Return whether a value is neither null nor empty."""
    if isinstance(value, msgspec.Raw):
        return bytes(memoryview(value)[:5]) not in _EMPTY
    return value is not None and (not isinstance(value, str | list | dict) or bool(value))


def _no_field(record: Record, role: Role) -> str:
    names = (" and " if role.chosen else " or ").join(map(repr, role.names))
    return f"no {names} in the record; " + (f"its fields are {listed(record)}" if record else "it is empty")
