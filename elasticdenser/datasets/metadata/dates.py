"""Dates of metadata and filters: days and times of ISO 8601, as spans of microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND, _DAY = timedelta(microseconds=1), timedelta(days=1)


class Span(NamedTuple):
    """Time that a date stands for: a whole day, or a moment.

    Attributes:
        start: Microseconds since 1970, UTC.
        end: Microseconds at which it is over.
    """

    start: int
    end: int


@lru_cache(maxsize=1 << 14)  # many passages have the same date
def parse_date(text: str) -> Span | None:
    """Return the span of `2026-01-31`, or of `2026-01-31T12:00:00Z`; None if the text is no such date.

    Seconds and their fraction may be left out, the T may be a space, and a time without an offset is in UTC.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    length = _MICROSECOND if match["time"] else _DAY
    start = (moment - _EPOCH) // _MICROSECOND
    return Span(start, start + length // _MICROSECOND)
