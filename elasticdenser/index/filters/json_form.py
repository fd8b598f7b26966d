"""Filters as JSON: objects with `must`, `should` and `must_not`, and conditions with `field`, `operator`, `value`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, get_args

from elasticdenser.errors import QueryError
from elasticdenser.index.filters.nodes import And, Comparison, Filter, IsMissing, Literals, Not, OneOf, Operator, Or
from elasticdenser.index.filters.parser import MAX_NESTING

CLAUSES = ("must", "should", "must_not")
_CONDITION = ("field", "operator", "value")
_COMPARISONS: tuple[Operator, ...] = get_args(Operator)
OPERATORS = (*_COMPARISONS, "!=", "in", "not in", "is null", "is not null")

_EXAMPLE = '{"must": [{"field": "section", "operator": "=", "value": "ops"}]}'


def parse_json(value: Any, place: str = "", depth: int = 0) -> Filter:
    """Return the filter that a parsed value of JSON holds.

    Args:
        value: An object with clauses, or a condition.
        place: Place of the value in the whole filter, such as `must[0]`; empty for the filter itself.
        depth: Number of filters that it is nested in.

    Raises:
        QueryError: It has another form; the message says where, and what was expected.
    """
    if not isinstance(value, Mapping) or not value:
        raise _fault(place, f"got {_shown(value)}, expected an object with {', '.join(CLAUSES)}, or a condition")
    if depth > MAX_NESTING:
        raise _fault(place, f"got more than {MAX_NESTING} filters in one another, expected fewer")
    known = CLAUSES if any(name in value for name in CLAUSES) else _CONDITION
    if unknown := [name for name in value if name not in known]:
        raise _fault(place, f"got the key {_shown(unknown[0])}, expected {', '.join(known)}")
    if known == _CONDITION:
        return _condition(value, place)
    must, should, must_not = (_clause(value, name, place, depth) for name in CLAUSES)
    parts = [*must, *([should[0] if len(should) == 1 else Or(tuple(should))] if should else []), *map(Not, must_not)]
    if not parts:
        raise _fault(place, "got no condition, expected at least one")
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _clause(value: Mapping[str, Any], name: str, place: str, depth: int) -> list[Filter]:
    where = f"{place}.{name}" if place else name
    items = value.get(name, [])
    if not isinstance(items, list | tuple):
        raise _fault(where, f"got {_shown(items)}, expected a list of conditions")
    return [parse_json(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(items)]


def _condition(value: Mapping[str, Any], place: str) -> Filter:
    field, operator = value.get("field"), value.get("operator")
    if not isinstance(field, str) or not field:
        raise _fault(place, f"got the field {_shown(field)}, expected its name as text")
    if operator not in OPERATORS:
        raise _fault(place, f"got the operator {_shown(operator)}, expected one of {', '.join(OPERATORS)}")
    where = f"in {place}" if place else "in the condition"
    if operator in ("is null", "is not null"):
        if value.get("value") is not None:
            raise _fault(place, f"got a value for {operator!r}, expected none")
        missing = IsMissing(field, where)
        return missing if operator == "is null" else Not(missing)
    if operator in ("in", "not in"):
        one_of = OneOf(field, _values(value.get("value"), place), where)
        return one_of if operator == "in" else Not(one_of)
    literal = _literal(value.get("value"), place)
    return (
        Not(Comparison(field, "=", literal, where)) if operator == "!=" else Comparison(field, operator, literal, where)
    )


def _values(value: Any, place: str) -> tuple[Literals, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise _fault(place, f"got the value {_shown(value)}, expected a list of at least one")
    return tuple(_literal(item, place) for item in value)


def _literal(value: Any, place: str) -> Literals:
    is_literal = isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
    if not is_literal:
        raise _fault(place, f"got the value {_shown(value)}, expected text, a number, true or false")
    return value  # type: ignore[no-any-return]


def _fault(place: str, message: str) -> QueryError:
    where = f"filter, {place}" if place else "filter"
    return QueryError(f"{where}: {message}: write conditions such as {_EXAMPLE}")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 40 else f"{text[:40]}..."
