"""Queries with typing errors, and what a set of them is called."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.suites.settings import QuerySetSettings


def mistyped(queries: Mapping[str, str], n_errors: int) -> dict[str, str]:
    """Return queries with typing errors, the same ones for a query id wherever and in whatever order they are made.

    Args:
        queries: Query id -> text.
        n_errors: How many in each; a query without a word of at least four letters has none.
    """
    return {
        query_id: with_typing_errors(text, n_errors, Random(f"{query_id} {n_errors}"))
        for query_id, text in queries.items()
    }


def title_of(name: str, settings: QuerySetSettings) -> str:
    """Return the title of a query set, which says how many typing errors its queries have."""
    if not settings.typing_errors:
        return settings.title
    errors = "1 typing error" if settings.typing_errors == 1 else f"{settings.typing_errors} typing errors"
    return f"{settings.title or name}, {errors} a query"
