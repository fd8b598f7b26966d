"""Fields of records: which of them are id, title and text, and which are not read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import (
    BadLine,
    QueryRecord,
    Record,
    checked_id,
    checked_passage,
    checked_query,
    has_surrogate,
    lone_surrogate,
    type_name,
)
from elasticdenser.errors import BadInputError

_MAX_FIELDS_SHOWN, _MAX_FIELD_LENGTH = 8, 40
_MAX_FIELDS_NOTED = 100
_JSON_VALUE = msgspec.json.Decoder(str | int | list[str] | None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldNames:
    """Names of the fields that a corpus is read from, where they are not the usual ones.

    Several fields are joined: `abstract+body`. In a TSV or CSV file without a header, the columns are numbered from 1.

    Attributes:
        id: Field of the id; by default `_id`, `id`, `doc_id`, `docid`, `docno` or `pid`. Several are joined by `-`.
        text: Field of the text; by default `text` or `contents`. Several are joined by line breaks.
        title: Field of the title; by default `title`. Several are joined by spaces.
    """

    id: str | None = None
    text: str | None = None
    title: str | None = None

    @property
    def options(self) -> list[str]:
        """The options of the command line that name these fields."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True, slots=True)
class Role:
    """Fields that hold one part of a passage or query.

    Attributes:
        names: Names of the fields.
        chosen: Whether a user named them: then all are read and joined, otherwise the first that is not blank.
    """

    names: tuple[str, ...]
    chosen: bool = False

    def renamed(self, option: str, names: str | None) -> Role:
        """Return the role with the fields that a user named, if any.

        Raises:
            BadInputError: A name is empty.
        """
        if names is None:
            return self
        parts = tuple(part.strip() for part in names.split("+"))
        if not all(parts):
            message = f"--{option} is {names!r}, expected the name of a field, or several such as abstract+body"
            raise BadInputError(message)
        return Role(parts, chosen=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """Roles of the fields of passages or queries; queries have no titles."""

    id: Role
    text: Role
    title: Role = Role(())

    @property
    def roles(self) -> tuple[Role, Role, Role]:
        """All roles, in the order of the columns of a file without a header."""
        return self.id, self.text, self.title

    @property
    def chosen(self) -> list[str]:
        """The fields that a user named."""
        return [name for role in self.roles if role.chosen for name in role.names]

    def with_names(self, names: FieldNames) -> Schema:
        """Return the schema with the fields that a user named.

        Raises:
            BadInputError: A name is empty.
        """
        return Schema(
            id=self.id.renamed("id", names.id),
            text=self.text.renamed("text", names.text),
            title=self.title.renamed("title", names.title),
        )


PASSAGES = Schema(
    id=Role(("_id", "id", "doc_id", "docid", "docno", "pid")), text=Role(("text", "contents")), title=Role(("title",))
)
QUERIES = Schema(id=Role(("_id", "id", "query_id", "qid")), text=Role(("text", "query", "question")))


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
        self._read = {name for role in schema.roles for name in role.names}

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
        self.n_read += 1
        self.n_without_text += not has_text
        self._note_fields(record)
        return checked_passage(doc_id, text, title)

    def check_names(self, corpus: str) -> None:
        """Refuse names of fields that no record has.

        Raises:
            BadInputError: There is one.
        """
        if self.n_read and self._missing:
            missing = ", ".join(repr(name) for name in sorted(self._missing))
            message = f"no record of the corpus {corpus!r} has a field {missing}: the fields are {_listed(self._found)}"
            raise BadInputError(f"{message}; correct the name")

    def remarks(self) -> list[str]:
        """Return what a user should know about fields that were not read."""
        remarks = []
        if self.unread:
            remarks.append(
                f"not read: {_listed(self.unread)}; --text, --title and --id choose other fields, and join several "
                "(--text abstract+body)"
            )
        if self.n_without_text:
            names = " or ".join(map(repr, self.schema.text.names))
            remarks.append(f"{self.n_without_text:,} of {self.n_read:,} records have no {names}, only a title")
        return remarks

    def _other_texts(self, record: Record) -> bool:
        return any(name not in self._read and _may_be_text(value) for name, value in record.items())

    def _note_fields(self, record: Record) -> None:
        found = self._found
        for name, value in record.items():
            if name not in found and len(found) < _MAX_FIELDS_NOTED:
                found[name] = None
            if name in self._read or name in self.unread or len(self.unread) == _MAX_FIELDS_NOTED:
                continue
            if _may_be_text(value):
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


def column_names(header: Iterable[str], schema: Schema) -> list[str]:
    """Return the names of columns, with the usual ones in lower case."""
    usual = {name for role in schema.roles if not role.chosen for name in role.names}
    stripped = (name.strip() for name in header)
    return [name.lower() if name.lower() in usual and name not in schema.chosen else name for name in stripped]


def check_columns(columns: list[str], schema: Schema, path: str) -> None:
    """Refuse names of columns that are given twice, or that a user named and the file lacks.

    Raises:
        BadInputError: There is one.
    """
    if repeated := [
        name for name in columns if columns.count(name) > 1 and name in {*PASSAGES.id.names, *schema.chosen}
    ]:
        raise BadInputError(f"two columns are called {repeated[0]!r}: rename one of them", path)
    if missing := [name for name in schema.chosen if name not in columns]:
        raise BadInputError(
            f"no column is called {missing[0]!r}: the columns are {_listed(columns)}; correct the name", path
        )


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
    except msgspec.DecodeError as error:
        parsed = json.loads(bytes(value))
        if has_surrogate(json.dumps(parsed, ensure_ascii=False)):
            raise lone_surrogate() from error
        return parsed


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


def _no_field(record: Record, role: Role) -> str:
    names = (" and " if role.chosen else " or ").join(map(repr, role.names))
    return f"no {names} in the record; " + (f"its fields are {_listed(record)}" if record else "it is empty")


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = ", ..." if len(shown) > _MAX_FIELDS_SHOWN else ""
    return f"{', '.join(name[:_MAX_FIELD_LENGTH] for name in shown[:_MAX_FIELDS_SHOWN])}{more}"
