"""What those who asked get from the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from elasticdenser.engine.request import Outcome, Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a query got.

    Attributes:
        hits: Best first.
        level: The level that served it.
        queued_s: How long it waited, in seconds.
        ran_s: How long its batch ran.
        late: Whether it came after its deadline.
        batch_size: Queries that were run together.
    """

    hits: Sequence[Any]
    level: str
    queued_s: float
    ran_s: float
    late: bool
    batch_size: int = 1


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The engine at one moment, and counts since it was made.

    Attributes:
        n_waiting: Queries in the queue, equal ones counted once.
        n_running: Batches that run.
        rate_per_s: Requests a second that have a deadline, over the last 0.1 s.
        ratio: How much slower than profiled the machine is.
        statuses: Requests by how they ended.
        levels: Answers by level, best level first.
        batches: Batches that were answered, by how many queries they held.
        replaced_workers: WorkerPool that hung.
        processes: Search processes that are ready, or search.
        replaced_processes: Search processes that died or hung.
    """

    n_waiting: int
    n_running: int
    rate_per_s: float
    ratio: float
    statuses: dict[str, int]
    levels: dict[str, int]
    batches: dict[int, int]
    replaced_workers: int
    processes: int
    replaced_processes: int


class InlineAnswer:
    """What takes the place of a future where whoever asks also searches: far lighter, and waits for nobody."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    def set_running_or_notify_cancel(self) -> bool:
        """Return that nobody has cancelled it."""
        return True

    def set_result(self, answer: Answer) -> None:
        """Take the answer."""
        self._answer = answer

    def set_exception(self, error: BaseException | None) -> None:
        """Take an error."""
        self._error = error

    def result(self) -> Answer:
        """Return the answer, or raise the error."""
        try:
            if self._answer is None:
                raise self._error or RuntimeError("there is no answer yet")
            return self._answer
        finally:
            del self  # the error's traceback would refer to it, and it to the error


def answer_of(outcome: Outcome, hits: Sequence[Any]) -> Answer:
    """Return the answer that an outcome with these hits is."""
    return Answer(
        hits=hits,
        level=outcome.level or "",
        queued_s=outcome.queued_s,
        ran_s=outcome.ran_s,
        late=outcome.status is Status.LATE,
        batch_size=outcome.batch_size,
    )


def settle(
    future: Future[Answer] | InlineAnswer | None, *, answer: Answer | None = None, error: BaseException | None = None
) -> None:
    """Settle a future, unless its owner has cancelled it; what its callbacks raise must not keep others from theirs."""
    if future is None or not future.set_running_or_notify_cancel():
        return
    try:
        if answer is not None:
            future.set_result(answer)
        else:
            future.set_exception(error)
    except (Exception, SystemExit):
        logger.exception("a callback of a query's future raised this")
