"""Common part of all searches: the accepted forms of queries, and scores without ties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.errors import QueryError

Queries = str | Mapping[str, str] | Iterable[Any]


def query_records(queries: Queries) -> Iterator[tuple[str, str]]:
    """Return (query id, text) of every query; a collection is checked at once, an iterator as it is read.

    Args:
        queries: One string; or a mapping of query ids to texts; or an iterable of strings or of records with
            `query_id` and `text`, as those of ir_datasets. Strings get the ids "0", "1", ...

    Raises:
        QueryError: The queries are of another type, or one of them is empty or not a text.
    """
    if isinstance(queries, bytes) or not isinstance(queries, Iterable):
        message = f"got queries of type {type(queries).__name__}, expected a string, a mapping or an iterable"
        raise QueryError(message)
    records = _checked(queries)
    return iter(list(records)) if isinstance(queries, str | Mapping | Sequence) else records


def check_query(query: object, name: str) -> None:
    """Check that a query can be encoded.

    Args:
        query: Its text.
        name: Its name in messages.

    Raises:
        QueryError: It is not a text, empty, or not Unicode.
    """
    if not isinstance(query, str) or not query.strip():
        raise QueryError(f"{name} is {query!r}, expected text with at least one character")
    try:
        query.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{name} is {query!r}, which holds bytes that are not UTF-8: convert it to UTF-8") from None


def strictly_falling(scores: Scores) -> Scores:
    """Lower each score that does not fall by the smallest step of float32, so that no two are equal.

    Tools that evaluate a run sort it by score and break ties in different ways: trec_eval by falling document id,
    others by rising. Copies of a passage would then rank differently in every tool.

    Args:
        scores: float32, (n,), best first.

    Returns:
        float32, (n,).
    """
    if len(scores) < 2 or (np.diff(scores) < 0).all():
        return scores
    falling = scores.copy()
    for rank in range(1, len(falling)):
        if falling[rank] >= falling[rank - 1]:
            falling[rank] = np.nextafter(falling[rank - 1], np.float32(-np.inf))
    return falling


def _checked(queries: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield (query id, text) of every query, checked."""
    if isinstance(queries, str):
        queries = [queries]
    pairs = queries.items() if isinstance(queries, Mapping) else map(_record, count(), queries)
    for query_id, text in pairs:
        check_query(text, f"query {query_id!r}")
        yield str(query_id), text


def _record(number: int, query: Any) -> tuple[str, str]:
    if isinstance(query, str):
        return str(number), query
    if not hasattr(query, "query_id"):
        raise QueryError(
            f"query number {number + 1} is of type {type(query).__name__}, expected a string or a record with "
            "query_id and text"
        )
    text: Any = getattr(query, "text", None)
    if text is None and hasattr(query, "default_text"):
        text = query.default_text()
    return query.query_id, text
