"""Submissions: the checked arguments with which a client submits a request."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError
from elasticdenser.query_input import check_query, checked_k
from elasticdenser.retrieval.hybrid import Hybrid, weight_of

if TYPE_CHECKING:
    from elasticdenser.index.filters import AnyFilter

_USUAL_BYTES = 120
"""A query of up to so many bytes is of usual length: it has about 30 tokens at most, in any script."""


class Submission(NamedTuple):
    """Request as a client submits it.

    Args:
        query: The query.
        timeout_s: Time from now after which the answer is worthless.
        minimum_level: Name of the level whose quality the answer must reach; None accepts any level.
        priority: Importance when not all requests can be served; those of low priority are shed first.
        minimum_quality: Quality, for queries of this length, that the level of the answer must have; 0 accepts any.
        n_tokens: Length of the query in tokens; None if it does not matter or is unknown.
    """

    query: Query
    timeout_s: float
    minimum_level: str | None
    priority: int
    minimum_quality: float = 0.0
    n_tokens: int | None = None


class SubmissionBuilder:
    """Checks the arguments of `RetrievalEngine.submit`, and fills in the defaults of the engine.

    Args:
        slo_s: Deadline of requests that give none, in seconds after arrival.
        minimum_quality: Minimum quality of requests that give none; 0 accepts any level.
        count_tokens: Counts the tokens of a query.
        quality_by_length: Whether the quality of levels depends on the length of a query.
        time_by_length: Whether it is known how run times depend on the length of a query.
        shorten: Shortens long queries without changing their hits.

    Raises:
        QueryError: The minimum quality is out of range.
    """

    def __init__(
        self,
        slo_s: float,
        minimum_quality: float = 0.0,
        *,
        count_tokens: Callable[[str], int | None],
        quality_by_length: bool,
        time_by_length: bool,
        shorten: Callable[[str], str],
    ) -> None:
        self._slo_s, self._count_tokens, self._shorten = slo_s, count_tokens, shorten
        self._quality_by_length, self._time_by_length = quality_by_length, time_by_length
        self._minimum_quality = _checked_quality(minimum_quality)

    def build(
        self,
        query: str,
        k: int,
        *,
        deadline_s: float | None = None,
        minimum_level: str | None = None,
        minimum_quality: float | None = None,
        priority: int = 0,
        doc_ids: Collection[str] | None = None,
        filter: AnyFilter | None = None,
        rerank: bool = True,
        hybrid: Hybrid = None,
    ) -> Submission:
        """Return a submission; the arguments are those of `RetrievalEngine.submit`.

        Raises:
            QueryError: The query is empty, an argument is out of range, or the filter has a fault.
        """
        check_query(query, "the query")
        k = checked_k(k)
        timeout_s = self._slo_s if deadline_s is None else deadline_s
        if not isinstance(timeout_s, numbers.Real) or not timeout_s > 0:
            raise QueryError(f"got deadline_s = {timeout_s}; expected seconds from now, above 0")
        if not isinstance(priority, numbers.Real):
            raise QueryError(f"got priority = {priority!r}; expected a whole number, such as 1")
        if isinstance(doc_ids, str) or not isinstance(doc_ids, Iterable | None):
            raise QueryError(f"got doc_ids = {doc_ids!r}; expected a collection of ids, such as [{str(doc_ids)!r}]")
        if not isinstance(rerank, bool):
            raise QueryError(f"got rerank = {rerank!r}; expected True, or False to switch reranking off")
        weight = weight_of(hybrid)
        quality = self._minimum_quality if minimum_quality is None else _checked_quality(minimum_quality)
        query = self._shorten(query)
        is_counted = (self._quality_by_length and quality > 0) or (
            self._time_by_length and len(query.encode()) > _USUAL_BYTES
        )
        return Submission(
            query=Query(
                text=query,
                k=k,
                doc_ids=None if doc_ids is None else frozenset(doc_ids),
                filter=None if filter is None else _as_text(filter),
                rerank=rerank,
                hybrid=None if hybrid is None else weight is not None,
                word_weight=None if isinstance(hybrid, bool) else weight,
            ),
            timeout_s=timeout_s,
            minimum_level=minimum_level,
            priority=priority,
            minimum_quality=quality,
            n_tokens=self._count_tokens(query) if is_counted else None,
        )


def _as_text(filter: AnyFilter) -> str:
    """Return the text of a filter; equal filters have equal texts.

    Raises:
        QueryError: It has a fault.
    """
    from elasticdenser.index.filters import parse_filter  # imported here because most requests have no filter

    return str(parse_filter(filter))


def _checked_quality(minimum_quality: float) -> float:
    """Return a minimum quality if it is a number from 0 to 1.

    Raises:
        QueryError: It is not.
    """
    is_number = isinstance(minimum_quality, numbers.Real) and not isinstance(minimum_quality, bool)
    if not is_number or not 0 <= minimum_quality <= 1:
        raise QueryError(f"got minimum_quality = {minimum_quality!r}; expected a share from 0 to 1, such as 0.95")
    return float(minimum_quality)
