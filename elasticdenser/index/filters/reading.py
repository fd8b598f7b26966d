"""Reading of filters in any of their forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from elasticdenser.datasets.records import type_name
from elasticdenser.errors import QueryError
from elasticdenser.index.filters.json_form import CLAUSES, parse_json
from elasticdenser.index.filters.nodes import And, Comparison, Filter, IsMissing, Not, OneOf, Or, conditions
from elasticdenser.index.filters.parser import parse_text

AnyFilter = str | Mapping[str, Any] | Filter
"""Forms of a filter that `parse_filter` takes."""

MAX_CHARACTERS = 100_000
"""Length of a filter as text, or as JSON."""

_MAX_DEPTH, _MAX_CONDITIONS, _MAX_VALUES = 50, 200, 10_000
"""SQLite, which evaluates filters, has limits of this order for depth and for parameters."""


def parse_filter(value: AnyFilter) -> Filter:
    """Return a filter, given as text, as JSON (parsed or as text), or as a tree.

    Raises:
        QueryError: It has a fault; the message says where, and what was expected.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, Mapping):
        return _checked(parse_json(value))
    if isinstance(value, And | Or | Not | Comparison | OneOf | IsMissing):
        return _checked(value)
    raise QueryError(
        f"filter: got a {type_name(value)}, expected text such as \"section = 'ops'\", or an object with "
        f"{', '.join(CLAUSES)}"
    )


@lru_cache(maxsize=256)
def _parse_text(source: str) -> Filter:
    if len(source) > MAX_CHARACTERS:
        raise QueryError(f"got a filter of {len(source):,} characters, expected at most {MAX_CHARACTERS:,}: shorten it")
    if not source.strip():
        raise QueryError("got an empty filter, expected conditions such as section = 'ops': leave it out")
    if source.lstrip().startswith("{"):
        try:
            return _checked(parse_json(json.loads(source)))
        except (ValueError, RecursionError) as error:
            raise QueryError(f"filter: got text that begins with '{{' but is not JSON ({error}): correct it") from None
    return _checked(parse_text(source))


def _checked(parsed: Filter) -> Filter:
    """Return a filter of bearable size.

    Raises:
        QueryError: It has too many conditions or values.
    """
    all_conditions = list(conditions(parsed))
    n_values = sum(len(one.values) for one in all_conditions if isinstance(one, OneOf))
    sizes = (
        (len(all_conditions), _MAX_CONDITIONS, "conditions", "write some of them as in (...)"),
        (n_values, _MAX_VALUES, "values", "use fewer"),
        (_depth(parsed), _MAX_DEPTH, "levels of filters in one another", "simplify it"),
    )
    for got, most, what, way_out in sizes:
        if got > most:
            raise QueryError(f"got a filter with {got:,} {what}, expected at most {most:,}: {way_out}")
    return parsed


def _depth(part: Filter) -> int:
    parts = part.parts if isinstance(part, And | Or) else (part.part,) if isinstance(part, Not) else ()
    return max(map(_depth, parts), default=-1) + 1
