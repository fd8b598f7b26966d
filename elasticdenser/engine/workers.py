"""Worker threads, and the keeper that replaces those that hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from elasticdenser.engine.request import Batch


class Work(Protocol):
    """Where workers get their work; see `Desk`.

    Attributes:
        run_by_askers: Batches that no worker runs, and the threads that do.
    """

    run_by_askers: dict[Batch, threading.Thread]

    def next_batch(self) -> Batch | None:
        """Return what to run, None if there is nothing now; called with the lock held."""

    def run(self, batch: Batch, meanwhile: Callable[[], None]) -> Any:
        """Run a batch and return what `hand_out` takes, None for nothing; `meanwhile` may be called. Never raises."""

    def hand_out(self, ran: Any) -> None:
        """Give those who asked for a batch their answers; never raises."""

    def give_up(self, batch: Batch, why: str) -> None:
        """Fail a batch, if it still runs."""

    def has_shed(self) -> bool:
        """Return whether there is somebody to tell that his request was shed."""

    def turn_away(self) -> None:
        """Tell those who wait for what has become hopeless."""


class _Worker:
    """A thread and what it runs."""

    def __init__(self, target: Callable[[_Worker], None], number: int) -> None:
        self.batch: Batch | None = None
        self.ran: Any = None  # what it has not yet told those who wait for it
        self.is_replaced = False
        # A daemon: one that hangs must not keep the process from ending.
        self.thread = threading.Thread(target=target, args=(self,), name=f"elasticdenser-{number}", daemon=True)


class Workers:
    """A fixed number of worker threads that are fed by `work`.

    Args:
        work: Gives batches and runs them.
        size: How many threads.
        lock: Guards `work`; also held when a worker looks for a batch.
        clock: Returns seconds that only rise.
        hang_s: A batch that runs longer, and longer than ten times what was expected, is given up; a thread cannot be
            stopped, so it is left to itself, and another one takes its place.

    Attributes:
        n_replaced: Threads that were replaced.
    """

    def __init__(
        self, work: Work, size: int, *, lock: threading.Lock, clock: Callable[[], float], hang_s: float
    ) -> None:
        self.size, self.n_replaced = size, 0
        self._work, self._lock, self._clock, self._hang_s = work, lock, clock, hang_s
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
        """Let the workers end when nothing is left to do; wait for what runs, but no longer than `timeout_s`."""
        with self._lock:
            self._is_stopping = True
            self._wanted.notify_all()
        until_s = self._clock() + timeout_s
        # The keeper goes on meanwhile, and may put new threads in the place of hanging ones.
        while (busy := self._busy()) and self._clock() < until_s:
            busy[0].join(min(0.05, max(0.0, until_s - self._clock())))
        for worker in self._alive():
            worker.is_replaced = True
        self._stopped.set()
        if self._keeper is not threading.current_thread():
            self._keeper.join()

    def _busy(self) -> list[threading.Thread]:
        """Return the other threads that work: workers that have not ended, and those who run a batch themselves."""
        askers = set(self._work.run_by_askers.copy().values()) - {threading.current_thread()}
        return [one.thread for one in self._alive()] + list(askers)

    def _alive(self) -> list[_Worker]:
        with self._lock:
            me = threading.current_thread()
            return [one for one in self._workers if one.thread.is_alive() and one.thread is not me]

    def _live(self, me: _Worker) -> None:
        while True:
            with self._wanted:
                me.batch = None if me.is_replaced else self._work.next_batch()
                if me.batch is None and me.ran is None and not self._work.has_shed():
                    if me.is_replaced or self._is_stopping:
                        return
                    self._wanted.wait()
                    continue
            # The next batch first: a process that could search it must not wait while those of the last one are told.
            ran = None if me.batch is None else self._work.run(me.batch, partial(self._tell, me))
            self._tell(me)
            me.ran = ran

    def _tell(self, me: _Worker) -> None:
        """Tell those who wait for what a worker has done, and those whose requests were shed, if that is still due."""
        # Whoever gets no answer is told first, so that he need not wait for others' answers.
        if self._work.has_shed():
            self._work.turn_away()
        ran, me.ran = me.ran, None
        if ran is not None:
            self._work.hand_out(ran)

    def _keep(self) -> None:
        """Look after the workers until they are stopped."""
        while not self._stopped.wait(min(self._hang_s / 4, 0.1)):
            self._work.turn_away()
            for worker, batch in self._hanging():
                # First make room for another batch, then start the thread that takes it.
                self._work.give_up(batch, f"a worker hung for {self._clock() - batch.started_s:.1f} s")
                if worker is not None:
                    self._replace(worker)

    def _hanging(self) -> list[tuple[_Worker | None, Batch]]:
        """Return the batches that hang with their workers, which are marked as replaced."""
        found: list[tuple[_Worker | None, Batch]] = []
        with self._lock:
            now_s = self._clock()
            running: list[tuple[_Worker | None, Batch | None]] = [(one, one.batch) for one in self._workers]
            running += [(None, batch) for batch in self._work.run_by_askers.copy()]
            for worker, batch in running:
                if batch and now_s - batch.started_s > max(self._hang_s, 10 * batch.expected_s):
                    if worker is not None:
                        worker.is_replaced = True
                    found.append((worker, batch))
        return found

    def _replace(self, worker: _Worker) -> None:
        with self._lock:
            self.n_replaced += 1
            another = _Worker(self._live, self.size + self.n_replaced)
            self._workers[self._workers.index(worker)] = another
        another.thread.start()
