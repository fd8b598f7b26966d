"""Check of filters against the fields that an index has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from elasticdenser.datasets.metadata.dates import parse_date
from elasticdenser.datasets.metadata.types import FieldType
from elasticdenser.datasets.metadata.values import described, plain_number
from elasticdenser.datasets.records import has_surrogate
from elasticdenser.errors import QueryError
from elasticdenser.index.filters.nodes import Comparison, Condition, Filter, IsMissing, Literals, OneOf, conditions

_OPERATORS = {
    "text": ("=", "<", "<=", ">", ">=", "like", "contains"),
    "number": ("=", "<", "<=", ">", ">="),
    "date": ("=", "<", "<=", ">", ">="),
    "boolean": ("=",),
}


def check_filter(filter: Filter, fields: Mapping[str, FieldType], source: str, *, is_sharded: bool = False) -> None:
    """Refuse a filter on other fields than those of an index, or with values of other types.

    Args:
        filter: The filter.
        fields: Types of the fields by name.
        source: Name of the index, for messages.
        is_sharded: Whether it is made of shards, to which nothing can be added.

    Raises:
        QueryError: The message says where the fault is, and which fields there are.
    """
    for condition in conditions(filter):
        kind = fields.get(condition.field)
        if kind is None:
            raise QueryError(_unknown_field(condition, fields, source, is_sharded=is_sharded))
        _check_operator(condition, kind)
        for value in _values_of(condition):
            _check_value(condition, kind, value)


def _check_operator(condition: Condition, kind: FieldType) -> None:
    allowed = (*_OPERATORS[kind.kind], "contains") if kind.is_list else _OPERATORS[kind.kind]
    if isinstance(condition, Comparison) and condition.operator not in allowed:
        others = ", ".join(dict.fromkeys((*allowed, "!=", "in", "is null")))
        raise QueryError(f"{_where(condition, kind)}: got the operator {condition.operator}, expected one of {others}")


def _check_value(condition: Condition, kind: FieldType, value: Literals) -> None:
    expected = FieldType(kind.kind).expected
    if isinstance(value, str):
        is_right = kind.kind == "text" or (kind.kind == "date" and parse_date(value) is not None)
        if "\0" in value or has_surrogate(value):
            is_right, expected = False, "text without NUL and halves of surrogate pairs"
    else:
        is_right = kind.kind == ("boolean" if isinstance(value, bool) else "number")
    try:
        if is_right and not isinstance(value, str):
            plain_number(value)
    except ValueError:
        is_right = False
    if not is_right:
        raise QueryError(f"{_where(condition, kind)}: got {described(value)}, expected {expected}")


def _values_of(condition: Condition) -> tuple[Literals, ...]:
    if isinstance(condition, IsMissing):
        return ()
    return condition.values if isinstance(condition, OneOf) else (condition.value,)


def _unknown_field(condition: Condition, fields: Mapping[str, FieldType], source: str, *, is_sharded: bool) -> str:
    fault = f"filter, {condition.place or 'condition'}: got the field {condition.field!r}"
    if not fields:
        remedy = f"build it with --metadata {condition.field}"
        remedy += " and --overwrite" if is_sharded else ", or give that to `elasticdenser add`"
        return f"{fault}, but {source} has no metadata: {remedy}"
    similar = difflib.get_close_matches(condition.field, fields, n=1, cutoff=0.5)
    hint = f": did you mean {similar[0]}?" if similar else ": correct the name"
    return f"{fault}, expected one of {listed_fields(fields)}{hint}"


def listed_fields(fields: Mapping[str, FieldType]) -> str:
    """Return fields with their types for messages: `date (date), tags (text[])`."""
    return ", ".join(f"{name} ({kind})" for name, kind in fields.items())


def _where(condition: Condition, kind: FieldType) -> str:
    return f"filter, {condition.place or 'condition'}: the field {condition.field!r} is of type {kind}"
