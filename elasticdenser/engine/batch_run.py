"""Run of one batch, from its start to the result of each request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from elasticdenser.engine.batch_search import BatchSearch, Hits
from elasticdenser.engine.request import Batch, Outcome, Query, Status
from elasticdenser.errors import QueryError

Result = Hits | QueryError
"""Hits of a query, or the error of a query that cannot be searched."""


class StartedBatch:
    """Batch whose search has been started; `results` must be called exactly once.

    Args:
        search: Runs the batch.
        batch: The batch.
        in_this_thread: Search in the thread that calls `results`, even if the search is asynchronous.

    Raises:
        Exception: The search could not be started.
    """

    def __init__(self, search: BatchSearch, batch: Batch, *, in_this_thread: bool = False) -> None:
        self.batch, self._search = batch, search
        self._queries: list[Query] = [job.requests[0].query for job in batch.jobs]  # type: ignore[misc]
        self._wait: Callable[[], Collection[Hits]]
        if in_this_thread:
            self._wait = partial(search.search_batch, self._queries, batch.level)
        else:
            self._wait = search.start_batch(self._queries, batch.level)

    def results(self) -> Collection[Result]:
        """Wait for the result of each job."""
        return self._results(self._queries, self._wait)

    def _results(self, queries: Sequence[Query], wait: Callable[[], Collection[Hits]]) -> Collection[Result]:
        try:
            hits = wait()
        except QueryError as error:
            if len(queries) == 1:
                return [error]
            # A query that cannot be searched must not fail the others: search each by itself.
            results: list[Result] = []
            for query in queries:
                results += self._results([query], partial(self._search_in_turn, query))
            return results
        if not isinstance(hits, Collection):
            hits = list(hits)
        if len(hits) != len(queries):
            raise ValueError(f"got hits of {len(hits)} queries from search_batch, expected {len(queries)}")
        return hits

    def _search_in_turn(self, query: Query) -> Collection[Hits]:
        return self._search.start_batch([query], self.batch.level)()


class FinishedBatch(NamedTuple):
    """Batch that has run.

    Args:
        batch: The batch.
        results: The result of each job.
        finished_s: Time at which the batch finished.
    """

    batch: Batch
    results: Collection[Result]
    finished_s: float

    def ends(self) -> Iterator[tuple[Outcome, Result]]:
        """Yield the outcome and the result of each request."""
        results = (result for job, result in zip(self.batch.jobs, self.results, strict=True) for _ in job.requests)
        for outcome, result in zip(self.batch.outcomes(self.finished_s), results, strict=True):
            if isinstance(result, QueryError):
                request, at_s, queued_s = outcome.request, outcome.at_s, outcome.queued_s
                outcome = Outcome(request=request, status=Status.FAILED, at_s=at_s, queued_s=queued_s)
            yield outcome, result
