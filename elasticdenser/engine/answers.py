"""Answers of the engine to its clients, and snapshots of its state."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from elasticdenser.engine.profiling.level_name import RerankStage, parse_level_name
from elasticdenser.engine.request import Outcome, Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Answer to a query.

    Attributes:
        hits: The hits, best first.
        level: Name of the level that served the query.
        reranked: Stages of reranking that its candidates went through; empty if the level does not rerank, or the
            request switched it off.
        queued_s: Time that the query waited.
        ran_s: Time that its batch ran.
        late: Whether the answer came after the deadline.
        batch_size: Number of queries in the batch.
        coverage: Share of the passages that were searched; below 1 if shards of the index could not be reached in time.
    """

    hits: Sequence[Any]
    level: str
    queued_s: float
    ran_s: float
    late: bool
    batch_size: int = 1
    reranked: tuple[RerankStage, ...] = ()
    coverage: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """State of the engine at one moment, and counts since its start.

    Attributes:
        n_waiting: Queries in the queue, equal ones counted once.
        n_running: Batches that are running.
        rate_per_s: Arrivals per second of requests with a deadline, over the last 0.1 s.
        correction_ratio: Factor by which run times currently differ from those of the profile.
        statuses: Number of requests by final state.
        levels: Number of answers by level, best level first.
        batches: Number of answered batches by batch size.
        replaced_workers: Workers that hung and were replaced.
        processes: Worker processes that are ready or searching.
        replaced_processes: Worker processes that died or hung and were replaced.
    """

    n_waiting: int
    n_running: int
    rate_per_s: float
    correction_ratio: float
    statuses: dict[str, int]
    levels: dict[str, int]
    batches: dict[int, int]
    replaced_workers: int
    processes: int
    replaced_processes: int


class InlineAnswer:
    """Substitute for a future where the calling thread itself searches: it is much faster, but cannot be waited for."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    def set_running_or_notify_cancel(self) -> bool:
        """Return True, because nobody can cancel it."""
        return True

    def set_result(self, answer: Answer) -> None:
        """Set the answer."""
        self._answer = answer

    def set_exception(self, error: BaseException | None) -> None:
        """Set the error."""
        self._error = error

    def result(self) -> Answer:
        """Return the answer, or raise the error."""
        try:
            if self._answer is None:
                raise self._error or RuntimeError("there is no answer yet")
            return self._answer
        finally:
            del self  # breaks the reference cycle with the error's traceback


AnyFuture = Future[Answer] | InlineAnswer


def answer_of(outcome: Outcome, hits: Sequence[Any]) -> Answer:
    """Return the answer of a request that was served with these hits."""
    level = outcome.level or ""
    return Answer(
        hits=hits,
        level=level,
        reranked=parse_level_name(level).stages if outcome.request.rerank else (),
        queued_s=outcome.queued_s,
        ran_s=outcome.ran_s,
        late=outcome.status is Status.LATE,
        batch_size=outcome.batch_size,
        coverage=getattr(hits, "coverage", 1.0),
    )


def settle(future: AnyFuture | None, *, answer: Answer | None = None, error: BaseException | None = None) -> None:
    """Set the answer or the error of a future unless it was cancelled; log errors of callbacks instead of raising."""
    if future is None or not future.set_running_or_notify_cancel():
        return
    try:
        if answer is not None:
            future.set_result(answer)
        else:
            future.set_exception(error)
    except (Exception, SystemExit):
        logger.exception("a callback of a query's future raised an error")
