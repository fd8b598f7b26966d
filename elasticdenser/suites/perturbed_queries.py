"""Queries with slips, and the titles of query sets that have them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from elasticdenser.datasets.perturbations import perturbed
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.suites.settings import QuerySetSettings


def mistyped(queries: Mapping[str, str], n_errors: int) -> dict[str, str]:
    """Return queries with typing errors; the errors of a query depend only on its id, its text and their number.

    Args:
        queries: Query id -> text.
        n_errors: Number of errors in each query; a query without a word of at least four letters has none.
    """
    return {
        query_id: with_typing_errors(text, n_errors, Random(f"{query_id} {n_errors}"))
        for query_id, text in queries.items()
    }


def perturbed_queries(queries: Mapping[str, str], settings: QuerySetSettings) -> dict[str, str]:
    """Return the queries of a query set with the slips that its settings ask for; else as they are.

    Args:
        queries: Query id -> text.
        settings: Settings of the query set.
    """
    if settings.perturbation:
        return {query_id: perturbed(text, settings.perturbation, query_id) for query_id, text in queries.items()}
    return mistyped(queries, settings.typing_errors)


def query_set_title(name: str, settings: QuerySetSettings) -> str:
    """Return the title of a query set, with its slips if there are any."""
    if settings.perturbation:
        return f"{settings.title or name}, {settings.perturbation}"
    if not settings.typing_errors:
        return settings.title
    errors = "1 typing error" if settings.typing_errors == 1 else f"{settings.typing_errors} typing errors"
    return f"{settings.title or name}, {errors} per query"
