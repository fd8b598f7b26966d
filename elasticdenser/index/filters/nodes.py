"""Filters as trees of conditions; the text of a tree is read back as an equal tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal

Literals = str | int | float | bool
"""Values in filters; dates are text."""

Operator = Literal["=", "<", "<=", ">", ">=", "like", "contains"]

KEYWORDS = frozenset(("and", "or", "not", "in", "like", "contains", "is", "null", "true", "false"))

NAME = re.compile(r"[^\W\d][\w.-]*")
"""Names of fields that need no quotes, if they are no keywords."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a field with a value; true of a list if it is true of one of its values.

    Attributes:
        field: Name of the field.
        operator: The operator; `!=` is the negation of `=`.
        value: The value.
        place: Place of the condition, for messages.
    """

    field: str
    operator: Operator
    value: Literals
    place: str = dataclass_field(default="", compare=False)

    def __str__(self) -> str:
        return f"{quoted_name(self.field)} {self.operator} {quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Test that a field, or one of the values of a list, is one of several values; see `Comparison`."""

    field: str
    values: tuple[Literals, ...]
    place: str = dataclass_field(default="", compare=False)

    def __str__(self) -> str:
        return f"{quoted_name(self.field)} in ({', '.join(map(quoted, self.values))})"


@dataclass(frozen=True, slots=True)
class IsMissing:
    """Test that a passage has no value in a field; see `Comparison`."""

    field: str
    place: str = dataclass_field(default="", compare=False)

    def __str__(self) -> str:
        return f"{quoted_name(self.field)} is null"


@dataclass(frozen=True, slots=True)
class And:
    """All of several filters."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(map(_in_parentheses, self.parts))


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of several filters."""

    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(map(_in_parentheses, self.parts))


@dataclass(frozen=True, slots=True)
class Not:
    """The passages that a filter leaves out."""

    part: Filter

    def __str__(self) -> str:
        return f"not {_in_parentheses(self.part)}"


Condition = Comparison | OneOf | IsMissing
Filter = Condition | And | Or | Not


def conditions(filter: Filter) -> Iterator[Condition]:
    """Yield the conditions of a filter, from left to right."""
    if isinstance(filter, And | Or):
        for part in filter.parts:
            yield from conditions(part)
    elif isinstance(filter, Not):
        yield from conditions(filter.part)
    else:
        yield filter


def quoted_name(name: str) -> str:
    """Return the name of a field as it is written in a filter."""
    if NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def quoted(value: Literals) -> str:
    """Return a value as it is written in a filter."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else json.dumps(value)


def _in_parentheses(part: Filter) -> str:
    return f"({part})" if isinstance(part, And | Or) else str(part)
