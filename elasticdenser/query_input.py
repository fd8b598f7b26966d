"""Forms of queries that every kind of search accepts, and checks of queries, texts and numbers that a user gives."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, SupportsIndex

from elasticdenser.errors import ElasticDenserError, QueryError

Queries = str | Mapping[str, str] | Iterable[Any]
"""All forms of queries; see `query_records`."""


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


def checked_k(k: object) -> int:
    """Return a number of hits as an int.

    Args:
        k: The number, an integer of Python or NumPy.

    Raises:
        QueryError: It is no integer, or below 1.
    """
    return checked_count(k, "k")


def checked_count(value: object, name: str, *, least: int = 1, error: type[ElasticDenserError] = QueryError) -> int:
    """Return a number of things as an int.

    Args:
        value: The number, an integer of Python or NumPy.
        name: Its name in messages.
        least: The least that it may be.
        error: The type of error to raise.

    Raises:
        ElasticDenserError: Of the type `error`: it is no integer, or below the least.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        is_whole = isinstance(value, float) and value.is_integer() and value >= least
        use = f": use {name} = {value:.0f}" if is_whole else ""
        raise error(f"got {name} = {value!r}, expected a whole number of at least {least}{use}")
    number = operator.index(value)
    if number < least:
        raise error(f"got {name} = {number}, expected at least {least}")
    return number


def check_list(texts: object, kind: str = "text", kinds: str = "texts") -> None:
    """Check that texts are several ones, and not one string.

    Args:
        texts: The texts.
        kind: Name of one of them in messages.
        kinds: Name of several of them.

    Raises:
        QueryError: They are one string, or no texts at all.
    """
    if isinstance(texts, str):
        raise QueryError(f"got one string, expected a list of {kinds}: use [{kind}]")
    if not isinstance(texts, Iterable):
        raise QueryError(f"got {texts!r}, expected a list of {kinds}")


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


def _checked(queries: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield (query id, text) of every query, checked."""
    if isinstance(queries, str):
        check_query(queries, "the query")
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
