"""Values of metadata as JSON holds them: text, numbers, true and false, and lists of these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from elasticdenser.datasets.records import has_surrogate, parsed_raw

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]
Metadata = Mapping[str, Any]
"""Values by field, as `plain_value` returns them."""

_MAX_INTEGER = 1 << 63
_MAX_SHOWN = 40


def plain_value(value: Any) -> Value | None:
    """Return a value of a record as JSON holds it; None for a missing one: null, NaN, blank text, an empty list.

    Args:
        value: A value of JSON, Python, NumPy or Parquet. Dates become text of ISO 8601; missing values in lists are
            left out.

    Raises:
        ValueError: Metadata cannot hold it; the message says what was got and expected.
    """
    if isinstance(value, msgspec.Raw):
        value = parsed_raw(value)
    if hasattr(value, "tolist"):  # NumPy
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return _plain_scalar(value)
    items = [_plain_scalar(item.tolist() if hasattr(item, "tolist") else item) for item in value]
    return [item for item in items if item is not None] or None


def _plain_scalar(value: Any) -> Scalar | None:
    if isinstance(value, str):
        if "\0" in value or has_surrogate(value):
            raise ValueError(f"got {described(value)}, expected text without NUL and halves of surrogate pairs")
        return str(value) if value.strip() else None
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, date):  # also a datetime
        return value.isoformat()
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int | float):
        return None if value != value else plain_number(value)  # NaN differs from itself
    raise ValueError(f"got {described(value)}, expected text, a number, true or false, a date, or a list of these")


def plain_number(value: int | float) -> int | float:
    """Return a number as it is stored: an integer of 64 bits, or else a float.

    Raises:
        ValueError: It is not finite, or too large.
    """
    if isinstance(value, int) and -_MAX_INTEGER <= value < _MAX_INTEGER:
        return int(value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"got the number {number}, expected one that is finite")
    return number


def described(value: Any) -> str:
    """Return a value with its type, for messages."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    name = "the text" if isinstance(value, str) else "the number" if isinstance(value, int | float) else "the value"
    shown = repr(value)
    return f"{name} {shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + '...'}"
