"""Worker threads, and the keeper that replaces those that hang."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection
from typing import Any, Protocol

from elasticdenser.engine.request import Batch


class Work(Protocol):
    """Where workers get their work; see `Dispatcher`.

    Attributes:
        is_searched_elsewhere: Whether a batch that has been begun is being searched, and the worker free meanwhile.
    """

    is_searched_elsewhere: bool

    @property
    def running(self) -> Collection[Batch]:
        """What runs, in workers or elsewhere; read with the lock held."""

    @property
    def n_waiting(self) -> int:
        """How many queries wait to be run; read with the lock held."""

    @property
    def has_open(self) -> bool:
        """Whether somebody waits for an answer."""

    def next_batch(self) -> Batch | None:
        """Return what to run, None if there is nothing now; called with the lock held."""

    def begin(self, batch: Batch) -> Any:
        """Begin a batch and return what `finish` takes, which then must be called, or None. Never raises."""

    def finish(self, begun: Any) -> Any:
        """Return what came of a batch for `deliver`, or None. Never raises."""

    def deliver(self, ran: Any) -> None:
        """Give those who asked for a batch their answers; never raises."""

    def give_up(self, batch: Batch, why: str) -> None:
        """Fail a batch, if it still runs."""

    def has_shed(self) -> bool:
        """Return whether there is somebody to tell that his request was shed."""

    def deliver_shed(self) -> None:
        """Tell those who wait for what has become hopeless."""


class _Worker:
    """A thread and what it runs."""

    def __init__(self, target: Callable[[_Worker], None], number: int) -> None:
        self.batch: Batch | None = None
        self.begun: Any = None  # which it has begun, but not yet started to finish
        self.ran: Any = None  # the one before, of which those who wait have not yet been told
        self.tells_since_s = math.inf  # callbacks may take long, too
        self.finishes_since_s = -math.inf
        self.is_replaced = False
        # A daemon: one that hangs must not keep the process from ending.
        self.thread = threading.Thread(target=target, args=(self,), name=f"elasticdenser-{number}", daemon=True)


class WorkerPool:
    """A fixed number of worker threads that are fed by `work`.

    Args:
        work: Gives batches and runs them.
        size: How many threads.
        lock: Guards `work`; also held when a worker looks for a batch.
        clock: Returns seconds that only rise.
        hang_timeout_s: A batch that runs longer, and longer than ten times what was expected, is given up; a thread
            cannot be stopped, so it is left to itself, and another one takes its place.
            The same holds for callbacks that take longer.

    Attributes:
        n_replaced: Threads that were replaced.
    """

    def __init__(
        self, work: Work, size: int, *, lock: threading.Lock, clock: Callable[[], float], hang_timeout_s: float
    ) -> None:
        self.size, self.n_replaced = size, 0
        self._work, self._lock, self._clock, self._hang_s = work, lock, clock, hang_timeout_s
        self._wanted = threading.Condition(lock)
        self._is_stopping = False
        self._stopped = threading.Event()
        self._workers = [_Worker(self._live, number) for number in range(size)]
        self._keeper = threading.Thread(target=self._keep, name="elasticdenser-keeper", daemon=True)
        for worker in self._workers:
            worker.thread.start()
        self._keeper.start()

    def wake(self) -> None:
        """Tell an idle worker that there is something to do; the lock must be held."""
        self._wanted.notify()

    def stop(self, timeout_s: float) -> None:
        """Let the workers end when nobody waits for an answer; wait for that, but no longer than `timeout_s`."""
        with self._lock:
            self._is_stopping = True
            self._wanted.notify_all()
        until_s = self._clock() + timeout_s
        # The keeper goes on meanwhile, and may put new threads in the place of hanging ones.
        while ((alive := self._alive()) or self._work.has_open) and (left_s := until_s - self._clock()) > 0:
            if alive:
                alive[0].thread.join(min(0.05, left_s))
            else:  # somebody runs his own batch
                self._stopped.wait(min(0.005, left_s))
        for worker in self._alive():
            worker.is_replaced = True
        self._stopped.set()
        if self._keeper is not threading.current_thread():
            self._keeper.join()

    def _alive(self) -> list[_Worker]:
        with self._lock:
            me = threading.current_thread()
            return [one for one in self._workers if one.thread.is_alive() and one.thread is not me]

    def _live(self, me: _Worker) -> None:
        while me.begun is not None or self._begin_next(me):
            self._tell(me)
            with self._lock:
                begun, me.begun = me.begun, None
                me.finishes_since_s = self._clock()
            if begun is not None:  # else another worker has taken it over
                me.ran = self._work.finish(begun)

    def _begin_next(self, me: _Worker) -> bool:
        """Begin the next batch, or find that there is somebody to tell of something; return False if it is time to end.

        Where processes search, that comes before the last batch's answers are handed out: they must not wait for that.
        """
        work = self._work
        if not work.is_searched_elsewhere:
            self._tell(me)
        with self._wanted:
            while True:
                me.batch = None if me.is_replaced else work.next_batch()
                if me.batch is not None or me.ran is not None or work.has_shed():
                    break
                if me.is_replaced or (self._is_stopping and not work.n_waiting):
                    self._wanted.notify_all()
                    return False
                self._wanted.wait()
        if me.batch is not None:
            me.begun = work.begin(me.batch)
        return True

    def _tell(self, me: _Worker) -> None:
        """Tell those who wait for what a worker has done, and those whose requests were shed, if that is still due."""
        # Whoever gets no answer is told first, so that he need not wait for others' answers.
        if self._work.has_shed():
            self._work.deliver_shed()
        with self._lock:
            ran, me.ran = me.ran, None
        if ran is not None:
            me.tells_since_s = self._clock()
            self._work.deliver(ran)
            me.tells_since_s = math.inf

    def _keep(self) -> None:
        """Look after the workers until they are stopped."""
        while not self._stopped.wait(min(self._hang_s / 4, 0.1)):
            self._work.deliver_shed()
            for worker in self._telling_for_long():
                self._replace(worker)
            for batch, owner in self._hanging():
                # First make room for another batch, then start the thread that takes it.
                self._work.give_up(batch, f"its search hung for {self._clock() - batch.started_s:.1f} s")
                if owner is not None:
                    self._replace(owner)
                else:  # whoever asked runs it himself
                    with self._lock:
                        self.wake()

    def _telling_for_long(self) -> list[_Worker]:
        with self._lock:
            before_s = self._clock() - self._hang_s
            return [one for one in self._workers if one.tells_since_s < before_s]

    def _hanging(self) -> list[tuple[Batch, _Worker | None]]:
        """Return the batches whose search takes too long, each with its worker, if it has one."""
        with self._lock:
            now_s = self._clock()
            owners = {one.batch: one for one in self._workers}
            found = []
            for batch in self._work.running:
                owner = owners.get(batch)
                since_s = batch.started_s if owner is None else max(batch.started_s, owner.finishes_since_s)
                is_hanging = now_s - since_s > max(self._hang_s, 10 * batch.expected_s)
                if is_hanging and (owner is None or owner.begun is None):  # else it still tells of the one before
                    found.append((batch, owner))
            return found

    def _replace(self, worker: _Worker) -> None:
        """Put another worker in the place of one, and let it take over what that one has not started with."""
        with self._lock:
            self.n_replaced += 1
            worker.is_replaced = True
            another = _Worker(self._live, self.size + self.n_replaced)
            another.batch, another.begun, another.ran = worker.batch, worker.begun, worker.ran
            worker.begun = worker.ran = None
            self._workers[self._workers.index(worker)] = another
        another.thread.start()
