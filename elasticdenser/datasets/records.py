"""From a line to a record: the field names, types and quoting that corpora and queries share."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from elasticdenser.datasets.passages import Passage

PASSAGE_IDS = ("_id", "id", "doc_id", "docid")
PASSAGE_TEXTS = ("text", "contents")
QUERY_IDS = ("_id", "id", "query_id", "qid")
QUERY_TEXTS = ("text", "query", "question")
DPR_HEADER = "id\ttext\ttitle"
_SURROGATE = re.compile("[\ud800-\udfff]")


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


def passage_from_json(line: str) -> Passage:
    """Read a passage from a line of JSON.

    Raises:
        BadLine: There is none.
    """
    record = json_object(line)
    doc_id = record_id(record, PASSAGE_IDS)
    title = _string(record, "title")
    name = next((name for name in PASSAGE_TEXTS if record.get(name) is not None), None)
    if name is None and not title.strip():
        raise BadLine("no text", f"no {_either(PASSAGE_TEXTS)} in the object; {_fields(record)}")
    return checked_passage(doc_id, "" if name is None else _string(record, name), title)


def passage_from_tsv(line: str) -> Passage:
    """Read a passage from `id TAB text [TAB title]`.

    DPR's three-column files were written by a CSV writer; where a field of such a line is quoted in full, the
    quotes are taken off.

    Raises:
        BadLine: There is none.
    """
    columns = line.split("\t")
    if len(columns) not in (2, 3):
        message = f"got {len(columns)} tab-separated columns, expected id, text and at most a title"
        raise BadLine("wrong number of columns", message)
    doc_id, text, title = columns if len(columns) == 3 else (*columns, "")
    if len(columns) == 3:
        text, title = unquoted(text), unquoted(title)
    return checked_passage(checked_id(doc_id), text, title)


def checked_passage(doc_id: str, text: str, title: str) -> Passage:
    """Return the passage, if there is something in it to encode.

    Raises:
        BadLine: Text and title are blank.
    """
    if not text.strip() and not title.strip():
        message = f"passage {doc_id!r} has no text: give it one, or leave the line out"
        raise BadLine("empty text", message)
    return Passage(doc_id, text, title)


def json_object(line: str) -> dict[str, Any]:
    """Read a line that holds one JSON object.

    Raises:
        BadLine: It does not.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = getattr(error, "msg", "too deeply nested")
        column = getattr(error, "colno", 1)
        message = f"not JSON ({what}, column {column}): expected one JSON object a line"
        raise BadLine("not JSON", message) from error
    if not isinstance(value, dict):
        message = f"got a JSON {_json_type(value)}, expected an object: one JSON object a line"
        raise BadLine("not a JSON object", message)
    # Strict UTF-8 has no surrogates: only such an escape can bring one in.
    if ("\\ud" in line or "\\uD" in line) and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        message = "holds half of a surrogate pair (\\ud800-\\udfff), which no encoder can read: remove it"
        raise BadLine("not UTF-8", message)
    return value


def record_id(record: dict[str, Any], names: Sequence[str]) -> str:
    """Return the id of a record, whichever of `names` holds it.

    Raises:
        BadLine: There is none, or it is unusable.
    """
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            message = f"{name!r} is a JSON {_json_type(value)}, expected a string or an integer"
            raise BadLine("bad id", message)
        return checked_id(str(value))
    raise BadLine("no id", f"no {_either(names)} in the object; {_fields(record)}")


def checked_id(value: str) -> str:
    """Return an id that fits into one field of one line.

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


def unquoted(field: str) -> str:
    """Undo CSV quoting of a field that is quoted in full and has doubled quotes inside."""
    if len(field) < 4 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    if '""' not in inner or '"' in inner.replace('""', ""):
        return field
    return inner.replace('""', '"')


def query_text(record: dict[str, Any]) -> str:
    """Return the text of a query record.

    Raises:
        BadLine: There is none.
    """
    for name in QUERY_TEXTS:
        if record.get(name) is not None:
            return _string(record, name)
    raise BadLine("no text", f"no {_either(QUERY_TEXTS)} in the object; {_fields(record)}")


def _string(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadLine(f"bad {name}", f"{name!r} is a JSON {_json_type(value)}, expected a string")
    return value


def _either(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)


def _fields(record: dict[str, Any]) -> str:
    names = sorted(record)
    if not names:
        return "it is empty"
    more = ", ..." if len(names) > 8 else ""
    return f"its fields are {', '.join(name[:40] for name in names[:8])}{more}"


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
