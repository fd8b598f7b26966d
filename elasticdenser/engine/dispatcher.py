"""Dispatcher between clients and workers: takes requests, gives batches to workers, and delivers answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count

from elasticdenser.engine.answers import Answer, AnyFuture, InlineAnswer, Snapshot, answer_of, settle
from elasticdenser.engine.batch_run import FinishedBatch, StartedBatch
from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.errors import EngineClosedError, OverloadedError, WorkerError
from elasticdenser.engine.listener import DeliveryListener
from elasticdenser.engine.request import Batch, Outcome, Request
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.statistics import Statistics
from elasticdenser.engine.submission import Submission
from elasticdenser.errors import QueryError


class Dispatcher:
    """State that all threads of an engine share: the scheduler behind a lock, and the futures of waiting clients.

    Clients call `submit`, `ask` and `would_reject`. Workers call `next_batch`, then `start_batch`, `finish_batch` and
    `deliver`; the last three raise nothing, and report every error to the clients.

    Args:
        scheduler: The scheduler; must not be used by others.
        search: Runs batches.
        clock: Returns monotonic seconds.
        listener: Notified of deliveries.

    Attributes:
        lock: Lock of the scheduler and the futures.
        is_asynchronous: Whether a worker is free between `start_batch` and `finish_batch`.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        search: BatchSearch,
        clock: Callable[[], float],
        listener: DeliveryListener | None = None,
    ) -> None:
        self._scheduler, self._search, self._clock = scheduler, search, clock
        self._listener = listener or DeliveryListener()
        self.is_asynchronous = search.is_asynchronous
        self.lock = threading.Lock()
        self._futures: dict[int, AnyFuture] = {}
        self._ids = count()
        self._is_closing = False
        self._statistics = Statistics(scheduler.profile)

    def submit(self, submission: Submission, wake: Callable[[], None]) -> Future[Answer]:
        """Take a request.

        Args:
            submission: The request.
            wake: Wakes a worker; called with the lock held.

        Raises:
            OverloadedError: The request could not be answered in time.
            EngineClosedError: The engine is closed.
            QueryError: The minimum level does not exist.
        """
        future: Future[Answer] = Future()
        with self.lock:
            request = self._add(submission, future)
            wake()
        future.add_done_callback(lambda done: self._cancel(request) if done.cancelled() else None)
        return future

    def ask(self, submission: Submission, wake: Callable[[], None]) -> Answer:
        """Take a request and wait for its answer; the arguments and errors are those of `submit`.

        If nothing else waits or runs, the calling thread searches: this saves two thread switches. A search that hangs
        then blocks this caller, as it would without an engine, but no other.
        """
        own_answer, batch = InlineAnswer(), None
        try:
            with self.lock:
                is_idle = not self._scheduler.n_waiting and not self._scheduler.n_running
                request = self._add(submission, own_answer)
                batch = self.next_batch() if is_idle else None
                if batch is None:
                    future = self._futures[request.id] = Future[Answer]()
                    wake()
            if batch is None:
                return future.result()
            finished = self.finish_batch(StartedBatch(self._search, batch, in_this_thread=True))
            if finished is not None:
                self.deliver(finished)
            return own_answer.result()
        except WorkerError as error:
            if isinstance(error.__cause__, KeyboardInterrupt):  # meant for this thread only
                raise error.__cause__ from None
            raise
        finally:
            if batch is not None:
                if self._scheduler.is_running(batch):
                    self.fail_batch(batch, "its search was interrupted")
                if self._scheduler.n_waiting:  # these requests came while no further batch could be scheduled
                    with self.lock:
                        wake()
            del own_answer  # breaks the reference cycle with the error

    def would_reject(self, timeout_s: float, priority: int) -> bool:
        """Return whether a request would be rejected; see `RetrievalEngine.would_reject`."""
        now_s = self._clock()
        if not self._scheduler.would_reject(now_s, now_s + timeout_s, priority):
            return False
        self._statistics.count_rejection()
        return True

    @property
    def has_room(self) -> bool:
        """Whether the engine holds fewer requests than it may."""
        return self._scheduler.n_unfinished < self._scheduler.settings.max_unfinished

    def stop_accepting(self) -> None:
        """Reject new requests."""
        with self.lock:
            self._is_closing = True

    def fail_all(self) -> None:
        """Fail all requests that have no answer yet."""
        with self.lock:
            self._scheduler.clear(self._clock())
            futures, self._futures = list(self._futures.values()), {}
        for future in futures:
            settle(future, error=EngineClosedError("the engine was closed before it could answer: ask another one"))

    def snapshot(self, **worker_counts: int) -> Snapshot:
        """Return the state and the counts; `worker_counts` are the fields that only the worker pool knows."""
        with self.lock:
            scheduler = self._scheduler
            return Snapshot(
                n_waiting=scheduler.n_waiting,
                n_running=scheduler.n_running,
                rate_per_s=scheduler.rate_per_s(self._clock()),
                correction_ratio=scheduler.correction_ratio,
                statuses=self._statistics.statuses,
                levels=dict(self._statistics.levels),
                batches=dict(self._statistics.batches),
                **worker_counts,
            )

    def forget_running(self) -> None:
        """Let no further request share the answer of a query that runs already."""
        with self.lock:
            self._scheduler.forget_running()

    @property
    def running(self) -> list[Batch]:
        """The running batches; read with the lock held."""
        return self._scheduler.running

    @property
    def n_waiting(self) -> int:
        """Number of queries in the queue; read with the lock held."""
        return self._scheduler.n_waiting

    @property
    def has_pending(self) -> bool:
        """Whether a client waits for an answer."""
        return bool(self._futures)

    @property
    def has_shed(self) -> bool:
        """Whether there are shed requests whose clients have not been notified."""
        return self._scheduler.has_shed

    def next_batch(self) -> Batch | None:
        """Return the batch to run next; None if nothing should start now. Called with the lock held."""
        return self._scheduler.schedule(self._clock())

    def start_batch(self, batch: Batch) -> StartedBatch | None:
        """Start the search of a batch, and return the argument of `finish_batch`; None if it failed."""
        try:
            return StartedBatch(self._search, batch)
        except BaseException as error:
            self._fail_with(batch, error)
            return None

    def finish_batch(self, started: StartedBatch) -> FinishedBatch | None:
        """Wait for a batch, and return the argument of `deliver`; None if the batch failed, also by `fail_batch`."""
        batch = started.batch
        try:
            results = started.results()
        except BaseException as error:
            self._fail_with(batch, error)
            return None
        with self.lock:
            if not self._scheduler.is_running(batch):
                return None
            now_s = self._clock()
            self._scheduler.finish(batch, now_s - batch.started_s)
        return FinishedBatch(batch, results, now_s)

    def deliver(self, finished: FinishedBatch) -> None:
        """Deliver the answers of a batch."""
        self._listener.batch_finished(finished.finished_s)
        outcomes_and_results = list(finished.outcomes_and_results())
        with self.lock:
            self._statistics.count_batch(len(finished.batch.jobs))
            futures = self._take_futures([outcome for outcome, _ in outcomes_and_results])
        for (outcome, result), future in zip(outcomes_and_results, futures, strict=True):
            if isinstance(result, QueryError):
                settle(future, error=result)
            else:
                settle(future, answer=answer_of(outcome, result))
        self._listener.delivered()

    def fail_batch(self, batch: Batch, reason: str, cause: BaseException | None = None) -> None:
        """Fail a batch that still runs, and deliver the errors."""
        with self.lock:
            if not self._scheduler.is_running(batch):
                return
            self._scheduler.fail(batch)
            futures = self._take_futures(batch.failures(self._clock()))
        for future in futures:
            error = WorkerError(f"{reason}: try again, or at another level than {batch.level}")
            error.__cause__ = cause
            settle(future, error=error)
        self._listener.delivered()

    def deliver_shed(self) -> None:
        """Shed the waiting requests that can no longer meet their deadline, and deliver the errors of all shed ones."""
        with self.lock:
            self._scheduler.expire(self._clock())
            outcomes = self._scheduler.take_shed()
            futures = self._take_futures(outcomes)
        for outcome, future in zip(outcomes, futures, strict=True):
            message = (
                f"shed after {1000 * outcome.queued_s:.0f} ms: the engine could no longer answer in time; try later"
            )
            settle(future, error=OverloadedError(message, retry_after_s=self._scheduler.settings.slo_s))
        self._listener.delivered()

    def _add(self, submission: Submission, future: AnyFuture) -> Request:
        if self._is_closing:
            raise EngineClosedError("the engine is closed: open another one")
        now_s = self._clock()
        request = Request(
            id=next(self._ids),
            query=submission.query,
            arrival_s=now_s,
            deadline_s=now_s + submission.timeout_s,
            minimum_level=submission.minimum_level,
            priority=submission.priority,
            minimum_quality=submission.minimum_quality,
            n_tokens=submission.n_tokens,
            rerank=submission.query.rerank,
        )
        try:
            self._scheduler.add(request)
        except OverloadedError:
            self._statistics.count_rejection()
            raise
        self._futures[request.id] = future
        return request

    def _fail_with(self, batch: Batch, error: BaseException) -> None:
        self.fail_batch(batch, f"the batch failed with {type(error).__name__}: {error}", error)

    def _take_futures(self, outcomes: list[Outcome]) -> list[AnyFuture | None]:
        self._statistics.count_outcomes(outcomes)
        return [self._futures.pop(outcome.request.id, None) for outcome in outcomes]

    def _cancel(self, request: Request) -> None:
        with self.lock:
            if self._scheduler.cancel(request):
                self._futures.pop(request.id, None)
