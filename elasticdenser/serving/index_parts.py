"""Checks that an index has what a request needs.

Messages speak of the fields of a request, and of options only to say who could help.
"""

from __future__ import annotations

import json

from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.filters import AnyFilter, Filter, parse_filter

_LACKS = "this index has no {} (whoever runs the server builds it with {}): leave {} out"


def check_filter(index: PassageIndex, filter: AnyFilter) -> Filter:
    """Return the filter of a request, after a check that it fits the metadata of an index.

    Raises:
        QueryError: It has a fault, or is on fields or values that the index does not have.
    """
    parsed = parse_filter(filter)
    if not index.fields:
        raise QueryError("filter: " + _LACKS.format("metadata", "--metadata", "filter"))
    return index.check_filter(parsed)


def check_hybrid(index: PassageIndex, hybrid: bool | float | None) -> None:
    """Check that an index has words, if a request wants them to count.

    Raises:
        QueryError: It has none.
    """
    if hybrid is not None and hybrid is not False and index.lexical is None:
        raise QueryError(f"hybrid: got {json.dumps(hybrid)}, but " + _LACKS.format("words", "--hybrid", "hybrid"))
