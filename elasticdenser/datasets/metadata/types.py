"""Types of metadata fields: text, number, boolean and date, and lists of these."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, Self, get_args

from elasticdenser.datasets.metadata.dates import parse_date
from elasticdenser.datasets.metadata.values import Scalar, Value, described, plain_number

Kind = Literal["text", "number", "boolean", "date"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_LIST = "[]"
_BOOLEANS = {"true": True, "false": False}
_EXPECTED = {
    "text": "text",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date such as 2026-01-31 or 2026-01-31T12:00:00Z",
}


@dataclass(frozen=True, slots=True)
class FieldType:
    """Type of a metadata field.

    Attributes:
        kind: Type of a value.
        is_list: Whether a passage may have several values.
    """

    kind: Kind
    is_list: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the type that `text`, `number`, `boolean` or `date` spells, or with `[]` behind it a list of them.

        Raises:
            ValueError: There is no such type.
        """
        kind = text.removesuffix(_LIST)
        if kind not in KINDS:
            raise ValueError(f"got the type {text!r}, expected {', '.join(KINDS)}, or a list of them such as text[]")
        return cls(kind, is_list=kind != text)

    @classmethod
    def of(cls, value: Value) -> Self:
        """Return the type of a value; text is a date if it is written as one.

        Raises:
            ValueError: It is a list of different types.
        """
        if not isinstance(value, list):
            return cls(_kind_of(value))
        kinds = {_kind_of(item) for item in value}
        if kinds == {"text", "date"}:
            kinds = {"text"}
        if len(kinds) > 1:
            raise ValueError(f"got a list of {' and '.join(sorted(kinds))}, expected values of one type")
        return cls(kinds.pop(), is_list=True)

    def __str__(self) -> str:
        return self.kind + _LIST * self.is_list

    @property
    def expected(self) -> str:
        """The values of this type in words, for messages."""
        return f"a list of {self.kind}" if self.is_list else _EXPECTED[self.kind]

    def joined(self, other: FieldType) -> FieldType | None:
        """Return the type of a field with values of both types: text if some are written as dates; None for others."""
        if self == other:
            return self
        if self.is_list == other.is_list and {self.kind, other.kind} == {"text", "date"}:
            return FieldType("text", self.is_list)
        return None

    def typed(self, value: Value) -> Value:
        """Return a value as one of this type: text such as `12.5` may be a number, and one value a list.

        Raises:
            ValueError: It is none; the message says what was got and expected.
        """
        if self.is_list:
            return [self._scalar(item) for item in (value if isinstance(value, list) else [value])]
        if isinstance(value, list):
            raise ValueError(f"got a list, expected {self.expected}")
        return self._scalar(value)

    def _scalar(self, value: Scalar) -> Scalar:
        converted: Scalar | None = None
        if self.kind == "boolean":
            converted = value if isinstance(value, bool) else _BOOLEANS.get(str(value).strip().lower())
        elif self.kind == "number":
            converted = _number(value)
        elif self.kind == "date":
            converted = value.strip() if isinstance(value, str) and parse_date(value.strip()) else None
        elif not isinstance(value, bool):
            converted = value if isinstance(value, str) else json.dumps(value)
        if converted is None:
            raise ValueError(f"got {described(value)}, expected {_EXPECTED[self.kind]}")
        return converted


def _kind_of(value: Scalar) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if parse_date(value) is None else "date"


def _number(value: Scalar) -> int | float | None:
    """Return a number, which may be given as text in the form of JSON; None if it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=str)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return plain_number(value)
