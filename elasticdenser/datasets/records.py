"""Records of corpora and query sets: checks of their fields, and what the formats share."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elasticdenser.datasets.passages import Passage

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_FIELDS_SHOWN, _MAX_FIELD_LENGTH = 8, 40


class BadLine(Exception):
    """A line that holds no usable record.

    Args:
        reason: The kind of fault in a few words, by which skipped lines are counted.
        message: What was got, what was expected, and the way out.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryRecord:
    """A query as a file holds it.

    Attributes:
        query_id: The id.
        text: The query.
        answers: Accepted short answers of a question; empty where there are none.
    """

    query_id: str
    text: str
    answers: list[str]


def checked_passage(doc_id: str, text: str, title: str) -> Passage:
    """Return a passage that has something to encode.

    Raises:
        BadLine: Text and title are blank.
    """
    if not text.strip() and not title.strip():
        message = f"passage {doc_id!r} has no text: give it one, or leave the line out"
        raise BadLine("empty text", message)
    return Passage(doc_id, text, title)


def checked_query(query_id: str, text: str, answers: Sequence[str] = ()) -> QueryRecord:
    """Return a query that has something to encode.

    Raises:
        BadLine: The text is blank.
    """
    if not text.strip():
        raise BadLine("empty text", f"query {query_id!r} has no text: give it one, or leave the line out")
    return QueryRecord(query_id=query_id, text=text, answers=list(answers))


def checked_id(value: str) -> str:
    """Return an id that fits into one field of a line.

    Raises:
        BadLine: It is blank, or holds a tab or a line break.
    """
    if value.isalnum():
        return value
    if not value.strip():
        raise BadLine("no id", "the id is empty: give each record its own")
    if "\t" in value or value.splitlines() != [value]:
        message = f"the id {value!r} holds a tab or a line break: choose one without"
        raise BadLine("bad id", message)
    return value


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that holds one JSON object.

    Raises:
        BadLine: It does not.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        fault = getattr(error, "msg", "too deeply nested")
        column = getattr(error, "colno", 1)
        message = f"not JSON ({fault}, column {column}): expected one JSON object a line"
        raise BadLine("not JSON", message) from error
    if not isinstance(value, dict):
        message = f"got a JSON {_json_type(value)}, expected an object: one JSON object a line"
        raise BadLine("not a JSON object", message)
    # Strict UTF-8 has no surrogates: only such an escape can introduce one.
    if ("\\ud" in line or "\\uD" in line) and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        message = "holds half of a surrogate pair (\\ud800-\\udfff), which no encoder can read: remove it"
        raise BadLine("not UTF-8", message)
    return value


def id_field(record: dict[str, Any], names: Sequence[str]) -> str:
    """Return the id of a JSON record, from the first of the fields `names` that it has.

    Raises:
        BadLine: It has none, or the id is unusable.
    """
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            message = f"{name!r} is a JSON {_json_type(value)}, expected a string or an integer"
            raise BadLine("bad id", message)
        return checked_id(str(value))
    raise BadLine("no id", f"no {_alternatives(names)} in the object; {_fields_of(record)}")


def text_field(record: dict[str, Any], names: Sequence[str]) -> str:
    """Return the text of a JSON record, from the first of the fields `names` that it has.

    Raises:
        BadLine: It has none, or the text is no string.
    """
    for name in names:
        if record.get(name) is not None:
            return string_field(record, name)
    raise BadLine("no text", f"no {_alternatives(names)} in the object; {_fields_of(record)}")


def string_field(record: dict[str, Any], name: str) -> str:
    """Return a field of a JSON record that may be absent or null, which is an empty string.

    Raises:
        BadLine: It is no string.
    """
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadLine(f"bad {name}", f"{name!r} is a JSON {_json_type(value)}, expected a string")
    return value


def _alternatives(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _fields_of(record: dict[str, Any]) -> str:
    names = sorted(record)
    if not names:
        return "it is empty"
    more = ", ..." if len(names) > _MAX_FIELDS_SHOWN else ""
    return f"its fields are {', '.join(name[:_MAX_FIELD_LENGTH] for name in names[:_MAX_FIELDS_SHOWN])}{more}"


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
