"""The desk between those who ask and the workers: requests come in, batches go out, answers are handed out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from elasticdenser.engine.answers import Answer, InlineAnswer, Snapshot, answer_of, settle
from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.errors import EngineClosedError, OverloadedError, WorkerError
from elasticdenser.engine.processes.pool import Found, ProcessPoolSearch
from elasticdenser.engine.request import Batch, Outcome, Query, Request, Status
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.errors import QueryError

Hits = Sequence[Any]


class Wanted(NamedTuple):
    """What is wanted of the engine.

    Args:
        query: The query.
        within_s: Seconds from now until its answer is worthless.
        minimum: Name of the level whose quality it must at least have.
        priority: Decides who is turned away; higher stays.
    """

    query: Query
    within_s: float
    minimum: str | None
    priority: int


class Begun(NamedTuple):
    """A batch that has been begun.

    Args:
        batch: The batch.
        queries: Of its jobs.
        search: Returns the hits of each; must be called, once.
    """

    batch: Batch
    queries: Sequence[Query]
    search: Callable[[], Collection[Hits]]


class Ran(NamedTuple):
    """A batch that has run.

    Args:
        batch: The batch.
        hits: Of each of its queries, or why it could not be searched.
        at_s: When it had run.
    """

    batch: Batch
    hits: Collection[Hits | QueryError]
    at_s: float


class Dispatcher:
    """What all threads of an engine share: the scheduler behind a lock, and the futures of those who wait.

    It is the `Work` of the engine's workers.

    Args:
        scheduler: Used by nobody else.
        search: Runs batches.
        clock: Returns seconds that only rise.

    Attributes:
        lock: Held when a worker looks for a batch.
        is_searched_elsewhere: Whether a batch that has been begun is being searched, and this thread free meanwhile.
    """

    def __init__(self, scheduler: Scheduler, search: BatchSearch, clock: Callable[[], float]) -> None:
        self._scheduler, self._search, self._clock = scheduler, search, clock
        self.is_searched_elsewhere = isinstance(search, ProcessPoolSearch)
        self.lock, self._counting = threading.Lock(), threading.Lock()
        self._futures: dict[int, Future[Answer] | InlineAnswer] = {}
        self._ids = count()
        self._is_closing = False
        self._statuses: dict[Status, int] = {status: 0 for status in Status if status is not Status.LOST}
        self._levels = {level.name: 0 for level in scheduler.profile.levels}
        self._batches: dict[int, int] = {}

    def submit(self, wanted: Wanted, wake: Callable[[], None]) -> Future[Answer]:
        """Take in a request.

        Args:
            wanted: The request.
            wake: Called with the lock held when there is something to do.

        Raises:
            OverloadedError: It could not be answered in time.
            EngineClosedError: The door is closed.
            QueryError: There is no such level.
        """
        future: Future[Answer] = Future()
        with self.lock:
            request = self._take_in(wanted, future)
            wake()
        future.add_done_callback(lambda done: self._cancel(request) if done.cancelled() else None)
        return future

    def ask(self, wanted: Wanted, wake: Callable[[], None]) -> Answer:
        """Take in a request and wait for its answer; the arguments and errors are those of `submit`.

        If nothing else waits or runs, this thread searches: that spares waking another one, and being woken by it.
        Should the search hang, it does so for this caller as it would without an engine, and for nobody else.
        """
        own, batch = InlineAnswer(), None
        try:
            with self.lock:
                is_at_rest = not self._scheduler.n_waiting and not self._scheduler.n_running
                request = self._take_in(wanted, own)
                batch = self.next_batch() if is_at_rest else None
                if batch is None:
                    future = self._futures[request.id] = Future[Answer]()
                    wake()
            if batch is None:
                return future.result()
            search = self._search.here if isinstance(self._search, ProcessPoolSearch) else self._search
            queries = _queries_of(batch)
            ran = self.finish(Begun(batch, queries, partial(search.search_batch, queries, batch.level)))
            if ran is not None:
                self.deliver(ran)
            return own.result()
        except WorkerError as error:
            if isinstance(error.__cause__, KeyboardInterrupt):  # for this thread only
                raise error.__cause__ from None
            raise
        finally:
            if batch is not None:
                if self._scheduler.is_running(batch):
                    self.give_up(batch, "its search was interrupted")
                if self._scheduler.n_waiting:  # who came before its end found no worker that might take another batch
                    with self.lock:
                        wake()
            del own  # an error would refer to it, and it to the error

    def would_reject(self, within_s: float, priority: int) -> bool:
        """See `RetrievalEngine.would_reject`."""
        now_s = self._clock()
        if not self._scheduler.is_hopeless(now_s, now_s + within_s, priority):
            return False
        self._count_refused()
        return True

    @property
    def has_room(self) -> bool:
        """Whether not so many requests are in as may be at once."""
        return self._scheduler.n_unfinished < self._scheduler.settings.max_unfinished

    def stop_accepting(self) -> None:
        """Refuse new requests."""
        with self.lock:
            self._is_closing = True

    def fail_all(self) -> None:
        """Fail everybody who still waits."""
        with self.lock:
            self._scheduler.clear(self._clock())
            left, self._futures = list(self._futures.values()), {}
        for future in left:
            settle(future, error=EngineClosedError("the engine was closed before it could answer: ask another one"))

    def snapshot(self, **more: int) -> Snapshot:
        """Return what goes on and has been done; `more` is what the workers know."""
        with self.lock:
            scheduler = self._scheduler
            return Snapshot(
                n_waiting=scheduler.n_waiting,
                n_running=scheduler.n_running,
                rate_per_s=scheduler.rate_per_s(self._clock()),
                ratio=scheduler.correction.ratio,
                statuses={status.value: n for status, n in self._statuses.items()},
                levels=dict(self._levels),
                batches=dict(self._batches),
                **more,
            )

    @property
    def running(self) -> list[Batch]:
        """For a worker's keeper, who holds the lock: what runs."""
        return self._scheduler.running

    @property
    def n_waiting(self) -> int:
        """For a worker, who holds the lock: how many queries wait to be run."""
        return self._scheduler.n_waiting

    @property
    def has_open(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._futures)

    def next_batch(self) -> Batch | None:
        """For a worker, who holds the lock: return what to run, None if there is nothing now."""
        return self._scheduler.schedule(self._clock())

    def has_shed(self) -> bool:
        """For a worker: return whether there is somebody to tell that his request was shed."""
        return self._scheduler.has_shed

    def begin(self, batch: Batch) -> Begun | None:
        """For a worker: have a process search a batch; where there are none, `finish` does. None if it failed."""
        queries = _queries_of(batch)
        try:
            return Begun(batch, queries, self._begin(queries, batch.level))
        except BaseException as error:
            self._fail(batch, error)
            return None

    def finish(self, begun: Begun) -> Ran | None:
        """For a worker: return what came of a batch, for `deliver`; None if it failed or was given up."""
        batch = begun.batch
        try:
            hits = self._hits(begun.queries, batch.level, begun.search)
        except BaseException as error:
            self._fail(batch, error)
            return None
        with self.lock:
            if not self._scheduler.is_running(batch):
                return None
            now_s = self._clock()
            self._scheduler.finished(batch, now_s - batch.started_s)
        return Ran(batch=batch, hits=hits, at_s=now_s)

    def deliver(self, ran: Ran) -> None:
        """For a worker: give those who asked for a batch their answers."""
        batch, size = ran.batch, len(ran.batch.jobs)
        found = [its for job, its in zip(batch.jobs, ran.hits, strict=True) for _ in job.members]
        outcomes = batch.outcomes(ran.at_s)
        if any(isinstance(its, QueryError) for its in found):
            pairs = zip(found, outcomes, strict=True)
            outcomes = [_failed(one) if isinstance(its, QueryError) else one for its, one in pairs]
        with self.lock:
            self._batches[size] = self._batches.get(size, 0) + 1
            futures = self._ended(outcomes)
        for outcome, its, future in zip(outcomes, found, futures, strict=True):
            if isinstance(its, QueryError):
                settle(future, error=its)
            else:
                settle(future, answer=answer_of(outcome, its))

    def give_up(self, batch: Batch, why: str, cause: BaseException | None = None) -> None:
        """For a worker or its keeper: fail a batch, if it still runs."""
        with self.lock:
            if not self._scheduler.is_running(batch):
                return
            self._scheduler.failed(batch)
            futures = self._ended(batch.failures(self._clock()))
        for future in futures:
            error = WorkerError(f"{why}: try again, or at another level than {batch.level}")
            error.__cause__ = cause
            settle(future, error=error)

    def deliver_shed(self) -> None:
        """For a worker or its keeper: tell those who wait for what has become hopeless."""
        with self.lock:
            self._scheduler.expire(self._clock())
            outcomes = self._scheduler.take_shed()
            futures = self._ended(outcomes)
        for outcome, future in zip(outcomes, futures, strict=True):
            message = (
                f"shed after {1000 * outcome.queued_s:.0f} ms: the engine could no longer answer in time; try later"
            )
            settle(future, error=OverloadedError(message, retry_after_s=self._scheduler.settings.slo_s))

    def _take_in(self, wanted: Wanted, future: Future[Answer] | InlineAnswer) -> Request:
        if self._is_closing:
            raise EngineClosedError("the engine is closed: open another one")
        now_s = self._clock()
        request = Request(
            id=next(self._ids),
            query=wanted.query,
            arrival_s=now_s,
            deadline_s=now_s + wanted.within_s,
            minimum=wanted.minimum,
            priority=wanted.priority,
        )
        try:
            self._scheduler.add(request)
        except OverloadedError:
            self._count_refused()
            raise
        self._futures[request.id] = future
        return request

    def _begin(self, queries: Sequence[Query], level: str) -> Callable[[], Collection[Hits]]:
        if isinstance(self._search, ProcessPoolSearch):
            return self._search.begin(queries, level)
        return partial(self._search.search_batch, queries, level)

    def _fail(self, batch: Batch, error: BaseException) -> None:
        self.give_up(batch, f"the batch failed with {type(error).__name__}: {error}", error)

    def _hits(
        self, queries: Sequence[Query], level: str, finish: Callable[[], Collection[Hits]]
    ) -> Collection[Hits | QueryError]:
        """Return the hits of each query; of one that cannot be searched, why: it must not fail those beside it."""
        try:
            hits = finish()
        except QueryError as error:
            if len(queries) == 1:
                return [error]
            alone = [([one], partial(self._search.search_batch, [one], level)) for one in queries]
            return [its for one, search in alone for its in self._hits(one, level, search)]
        if not isinstance(hits, Found):
            hits = list(hits)
        if len(hits) != len(queries):
            raise ValueError(f"got hits of {len(hits)} queries from search_batch, expected {len(queries)}")
        return hits

    def _ended(self, outcomes: list[Outcome]) -> list[Future[Answer] | InlineAnswer | None]:
        for outcome in outcomes:
            self._statuses[outcome.status] += 1
            if outcome.level is not None:
                self._levels[outcome.level] += 1
        return [self._futures.pop(outcome.request.id, None) for outcome in outcomes]

    def _cancel(self, request: Request) -> None:
        with self.lock:
            if self._scheduler.cancel(request):
                self._futures.pop(request.id, None)

    def _count_refused(self) -> None:
        with self._counting:  # not the lock, which the workers need
            self._statuses[Status.REFUSED] += 1


def _queries_of(batch: Batch) -> list[Query]:
    return [job.members[0].query for job in batch.jobs]  # type: ignore[misc]


def _failed(outcome: Outcome) -> Outcome:
    """Return the outcome of a request that could not be searched."""
    return Outcome(request=outcome.request, status=Status.FAILED, at_s=outcome.at_s, queued_s=outcome.queued_s)
