"""Records of corpora and query sets: checks of their ids and texts, which the formats share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from elasticdenser.datasets.passages import Passage

Record = Mapping[str, Any]
"""Fields of a record by name. The values of JSON are `msgspec.Raw`, parsed only where they are read."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = "\ufeff"
_MAX_PARSED_TWICE = 1 << 20
"""Characters of a line that is parsed again by the tolerant parser, which takes thirty times as much memory."""

_JSON_RECORD = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON_TYPES = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}


class BadLine(Exception):
    """Fault of a line that holds no usable record.

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
    """Query as it is in a file.

    Attributes:
        query_id: The id.
        text: The query.
        answers: Accepted short answers of a question; empty where there are none.
    """

    query_id: str
    text: str
    answers: list[str]


def checked_passage(doc_id: str, text: str, title: str, metadata: Mapping[str, Any] | None = None) -> Passage:
    """Return a passage that has something to encode.

    Raises:
        BadLine: Text and title are blank.
    """
    if not text.strip() and not title.strip():
        message = f"passage {doc_id!r} has no text: give it one, or leave the line out"
        raise BadLine("empty text", message)
    return Passage(doc_id, text, title, metadata)


def checked_query(query_id: str, text: str, answers: Sequence[str] = ()) -> QueryRecord:
    """Return a query that has something to encode.

    Raises:
        BadLine: The text is blank.
    """
    if not text.strip():
        raise BadLine("empty text", f"query {query_id!r} has no text: give it one, or leave the line out")
    return QueryRecord(query_id=query_id, text=text, answers=list(answers))


def checked_id(value: str) -> str:
    """Return an id without a byte order mark, after the one check of ids that all readers share.

    Ids are columns of run files and qrels, and lines of id files: they hold no white space.

    Raises:
        BadLine: It is empty, or holds white space.
    """
    if value.isalnum():
        return value
    value = value.removeprefix(_BOM)
    if not value.strip():
        raise BadLine("no id", "the id is empty: give each record its own")
    if value.split() != [value]:
        message = f"the id {value!r} holds white space, which run files cannot hold: write {'_'.join(value.split())!r}"
        raise BadLine("bad id", message)
    return value


def id_of_name(name: str) -> str:
    """Return a file's name as (the start of) an id, with `_` for white space."""
    return "_".join(name.split()) or "_"


def json_record(line: str) -> Record:
    """Parse a line that holds one JSON object, without parsing its values.

    Raises:
        BadLine: It holds something else.
    """
    try:
        return _JSON_RECORD.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        if len(line) > _MAX_PARSED_TWICE:
            raise BadLine("not JSON", f"not a JSON object ({error}): expected one JSON object a line") from error
    # Python's parser takes NaN, and says what is wrong where.
    return json_object(line)


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that holds one JSON object, with all of its values.

    Raises:
        BadLine: It holds something else.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        fault = getattr(error, "msg", "too deeply nested")
        column = getattr(error, "colno", 1)
        message = f"not JSON ({fault}, column {column}): expected one JSON object a line, or one array of objects"
        raise BadLine("not JSON", message) from error
    if not isinstance(value, dict):
        message = f"got a {type_name(value)}, expected an object: one JSON object a line"
        raise BadLine("not a JSON object", message)
    # The line is valid UTF-8, which has no surrogates, so that only such an escape can introduce one.
    if ("\\ud" in line or "\\uD" in line) and has_surrogate(json.dumps(value, ensure_ascii=False)):
        raise lone_surrogate()
    return value


def parsed_raw(value: msgspec.Raw) -> Any:
    """Return a value of JSON, parsed.

    Raises:
        BadLine: It holds half of a surrogate pair.
    """
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        parsed = json.loads(bytes(value))
        if has_surrogate(json.dumps(parsed, ensure_ascii=False)):
            raise lone_surrogate() from None
        return parsed


def has_surrogate(text: str) -> bool:
    """Return whether a text holds half of a surrogate pair."""
    return _SURROGATE.search(text) is not None


def lone_surrogate() -> BadLine:
    """Return the fault of a text with half of a surrogate pair."""
    message = "holds half of a surrogate pair (\\ud800-\\udfff), which no encoder can read: remove it"
    return BadLine("not UTF-8", message)


def type_name(value: object) -> str:
    """Return the name of a value's type in JSON, for messages."""
    if isinstance(value, msgspec.Raw):
        return f"JSON {_JSON_TYPES.get(bytes(memoryview(value)[:1]).decode(), 'number')}"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    if value is None:
        return "JSON null"
    return f"JSON {names[type(value)]}" if type(value) in names else type(value).__name__
