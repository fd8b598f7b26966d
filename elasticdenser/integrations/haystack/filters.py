"""Filters of Haystack as those of an index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from haystack.errors import FilterError

from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.filters.nodes import And, Comparison, Filter, IsMissing, Literals, Not, OneOf, Operator, Or

_ORDER: dict[str, Operator] = {">": ">", ">=": ">=", "<": "<", "<=": "<="}
_ATTRIBUTES = ("id", "content", "blob", "score", "embedding", "sparse_embedding")
_EXAMPLE = "{'field': 'meta.section', 'operator': '==', 'value': 'ops'}"


def index_filter(filters: Mapping[str, Any], index: PassageIndex) -> Filter | bool:
    """Return the filter of an index that means the same; True or False if all passages meet it, or none.

    As in Haystack, a passage has None in a field that it lacks, or that no passage has.

    Raises:
        FilterError: The filter is malformed, on something else than metadata, or does not fit the types of the fields.
    """
    translated = _translated(filters, index.fields)
    try:
        return translated if isinstance(translated, bool) else index.check_filter(translated)
    except QueryError as error:
        raise FilterError(str(error)) from error


def _translated(filters: Any, fields: Collection[str]) -> Filter | bool:
    if not isinstance(filters, Mapping):
        raise FilterError(f"got a filter of type {type(filters).__name__}, expected a dictionary such as {_EXAMPLE}")
    if "field" in filters:
        return _comparison(filters, fields)
    operator, conditions = _value(filters, "operator"), _value(filters, "conditions")
    if operator not in ("AND", "OR", "NOT") or not isinstance(conditions, list):
        raise FilterError(f"got the filter {filters}, expected AND, OR or NOT as operator, and a list of conditions")
    parts = [_translated(condition, fields) for condition in conditions]
    if operator == "OR":
        return _joined(Or, parts)
    joined = _joined(And, parts)
    return _negated(joined) if operator == "NOT" else joined


def _comparison(condition: Mapping[str, Any], fields: Collection[str]) -> Filter | bool:
    field, operator, value = condition["field"], _value(condition, "operator"), _value(condition, "value")
    if not isinstance(field, str) or field in _ATTRIBUTES:
        raise FilterError(f"got the field {field!r}, expected one of the metadata, such as 'meta.section'")
    name = field.removeprefix("meta.")
    if operator in ("==", "!="):
        is_equal = _one_of(name, [value], fields)
        return is_equal if operator == "==" else _negated(is_equal)
    if operator in ("in", "not in"):
        if not isinstance(value, list):
            raise FilterError(f"got a {type(value).__name__} as value of {operator!r}, expected a list: {condition}")
        is_in = _one_of(name, value, fields)
        return is_in if operator == "in" else _negated(is_in)
    if operator not in _ORDER:
        raise FilterError(f"got the operator {operator!r}, expected ==, !=, >, >=, <, <=, in or not in: {condition}")
    if value is None or name not in fields:
        return False  # nothing is greater or less than None
    return Comparison(name, _ORDER[operator], _literal(value))


def _one_of(name: str, values: Sequence[Any], fields: Collection[str]) -> Filter | bool:
    """Return the test that a field has one of several values, of which one may be None."""
    literals = tuple(_literal(value) for value in values if value is not None)
    has_none = len(literals) < len(values)
    if name not in fields:
        return has_none
    return _joined(Or, [*([IsMissing(name)] if has_none else []), *([OneOf(name, literals)] if literals else [])])


def _joined(kind: type[And | Or], parts: Sequence[Filter | bool]) -> Filter | bool:
    decisive = kind is Or
    filters = tuple(part for part in parts if not isinstance(part, bool))
    if any(part is decisive for part in parts):
        return decisive
    if not filters:
        return not decisive
    return filters[0] if len(filters) == 1 else kind(filters)


def _negated(part: Filter | bool) -> Filter | bool:
    return not part if isinstance(part, bool) else Not(part)


def _literal(value: Any) -> Literals:
    if isinstance(value, date):  # also a datetime
        return value.isoformat()
    if isinstance(value, str | bool | int | float):
        return value
    raise FilterError(f"got a {type(value).__name__} as value, expected text, a number, true or false, or a date")


def _value(filters: Mapping[str, Any], key: str) -> Any:
    if key not in filters:
        raise FilterError(f"got {filters} without {key!r}, expected a filter such as {_EXAMPLE}")
    return filters[key]
