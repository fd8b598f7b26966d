"""Worker threads, and the watchdog that replaces those that hang."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from elasticdenser.engine.batch_run import FinishedBatch, StartedBatch
from elasticdenser.engine.dispatcher import Dispatcher
from elasticdenser.engine.request import Batch

_MAX_WATCH_INTERVAL_S = 0.1
"""Longest time between two checks of the watchdog, which also notifies the clients of shed requests."""
_JOIN_S, _POLL_S = 0.05, 0.005
"""Longest time that `stop` waits for one thread, or for a client's own search, before it looks at all of them again."""


class _Worker:
    """Thread, and the batches that it works on."""

    def __init__(self, target: Callable[[_Worker], None], number: int) -> None:
        self.batch: Batch | None = None
        self.started: StartedBatch | None = None  # the search runs, but the worker does not wait for it yet
        self.finished: FinishedBatch | None = None  # the batch before, whose answers have not been delivered yet
        self.delivers_since_s = math.inf  # callbacks of futures may hang, too
        self.waits_since_s = -math.inf
        self.is_replaced = False
        # A daemon, because a thread that hangs must not keep the process from ending.
        self.thread = threading.Thread(target=target, args=(self,), name=f"elasticdenser-{number}", daemon=True)


class WorkerPool:
    """A fixed number of worker threads that run the batches of a dispatcher.

    Args:
        dispatcher: Provides the batches; its lock guards the workers, too.
        size: Number of threads.
        clock: Returns monotonic seconds.
        hang_timeout_s: A batch that runs longer than this, and longer than ten times its expected run time, fails. As
            a thread cannot be stopped, its worker is abandoned and replaced. A worker whose delivery takes longer than
            this, due to a callback, is replaced, too.

    Attributes:
        n_replaced: Number of workers that were replaced.
    """

    def __init__(self, dispatcher: Dispatcher, size: int, *, clock: Callable[[], float], hang_timeout_s: float) -> None:
        self.size, self.n_replaced = size, 0
        self._dispatcher, self._lock, self._clock = dispatcher, dispatcher.lock, clock
        self._hang_timeout_s = hang_timeout_s
        self._has_work = threading.Condition(self._lock)
        self._is_stopping = False
        self._stopped = threading.Event()
        self._workers = [_Worker(self._run, number) for number in range(size)]
        self._watchdog = threading.Thread(target=self._watch, name="elasticdenser-watchdog", daemon=True)
        for worker in self._workers:
            worker.thread.start()
        self._watchdog.start()

    def wake(self) -> None:
        """Notify an idle worker that there may be a batch; called with the lock held."""
        self._has_work.notify()

    def stop(self, timeout_s: float) -> None:
        """Wait until no client waits for an answer, at most `timeout_s`, and end the workers."""
        with self._lock:
            self._is_stopping = True
            self._has_work.notify_all()
        deadline_s = self._clock() + timeout_s
        # Meanwhile the watchdog may still replace workers that hang.
        while ((alive := self._alive()) or self._dispatcher.has_pending) and (left_s := deadline_s - self._clock()) > 0:
            if alive:
                alive[0].thread.join(min(_JOIN_S, left_s))
            else:  # a client searches in its own thread
                self._stopped.wait(min(_POLL_S, left_s))
        for worker in self._alive():
            worker.is_replaced = True
        self._stopped.set()
        if self._watchdog is not threading.current_thread():
            self._watchdog.join()

    def _alive(self) -> list[_Worker]:
        with self._lock:
            current = threading.current_thread()
            return [worker for worker in self._workers if worker.thread.is_alive() and worker.thread is not current]

    def _run(self, worker: _Worker) -> None:
        while worker.started is not None or self._start_next(worker):
            self._deliver(worker)
            with self._lock:
                started, worker.started = worker.started, None
                worker.waits_since_s = self._clock()
            if started is not None:  # else another worker has taken the batch over
                worker.finished = self._dispatcher.finish_batch(started)

    def _start_next(self, worker: _Worker) -> bool:
        """Wait until there is a batch to start or something to deliver; return False if the worker must end.

        An asynchronous search starts the next batch before the answers of the last one are delivered, so that its
        process need not wait for the delivery.
        """
        dispatcher = self._dispatcher
        if not dispatcher.is_asynchronous:
            self._deliver(worker)
        with self._has_work:
            while True:
                worker.batch = None if worker.is_replaced else dispatcher.next_batch()
                if worker.batch is not None or worker.finished is not None or dispatcher.has_shed:
                    break
                if worker.is_replaced or (self._is_stopping and not dispatcher.n_waiting):
                    self._has_work.notify_all()
                    return False
                self._has_work.wait()
        if worker.batch is not None:
            worker.started = dispatcher.start_batch(worker.batch)
        return True

    def _deliver(self, worker: _Worker) -> None:
        """Deliver the errors of shed requests, and the answers of the worker's last batch, if there are any."""
        # Rejections first: they are few, and their clients should not wait for the callbacks of others.
        if self._dispatcher.has_shed:
            self._dispatcher.deliver_shed()
        with self._lock:
            finished, worker.finished = worker.finished, None
        if finished is not None:
            worker.delivers_since_s = self._clock()
            self._dispatcher.deliver(finished)
            worker.delivers_since_s = math.inf

    def _watch(self) -> None:
        """Deliver the errors of shed requests, and replace the workers that hang, until the pool is stopped."""
        # Four checks within the timeout: a hang is recognised at most a quarter of it late.
        while not self._stopped.wait(min(self._hang_timeout_s / 4, _MAX_WATCH_INTERVAL_S)):
            self._dispatcher.deliver_shed()
            for worker in self._hanging_deliveries():
                self._replace(worker)
            for batch, owner in self._hanging_batches():
                # The failure makes room for another batch, so it must precede the start of the thread that takes it.
                self._dispatcher.fail_batch(batch, f"its search hung for {self._clock() - batch.started_s:.1f} s")
                if owner is not None:
                    self._replace(owner)
                else:  # a client searches in its own thread
                    with self._lock:
                        self.wake()

    def _hanging_deliveries(self) -> list[_Worker]:
        with self._lock:
            limit_s = self._clock() - self._hang_timeout_s
            return [worker for worker in self._workers if worker.delivers_since_s < limit_s]

    def _hanging_batches(self) -> list[tuple[Batch, _Worker | None]]:
        """Return the batches whose search hangs, each with its worker, if it has one."""
        with self._lock:
            now_s = self._clock()
            owners = {worker.batch: worker for worker in self._workers}
            hanging = []
            for batch in self._dispatcher.running:
                owner = owners.get(batch)
                since_s = batch.started_s if owner is None else max(batch.started_s, owner.waits_since_s)
                is_overdue = now_s - since_s > max(self._hang_timeout_s, 10 * batch.expected_s)
                # A worker that has not begun to wait for the search is still delivering the batch before.
                if is_overdue and (owner is None or owner.started is None):
                    hanging.append((batch, owner))
            return hanging

    def _replace(self, worker: _Worker) -> None:
        """Replace a worker by another one, which takes over the batches that it does not work on yet."""
        with self._lock:
            self.n_replaced += 1
            worker.is_replaced = True
            successor = _Worker(self._run, self.size + self.n_replaced)
            successor.batch, successor.started, successor.finished = worker.batch, worker.started, worker.finished
            worker.started = worker.finished = None
            self._workers[self._workers.index(worker)] = successor
        successor.thread.start()
