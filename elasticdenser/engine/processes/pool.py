"""Searching in other processes: threads share one interpreter, and at the smallest sizes mostly wait for it."""

from __future__ import annotations

import logging
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from threading import Condition, Lock, Thread, current_thread
from typing import TYPE_CHECKING

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.worker_process import WorkerProcess, message_of
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Hit, Retriever
    from elasticdenser.subnet import Subnet

logger = logging.getLogger(__name__)

_START_S = 600.0
"""A process that has not opened the index by then is killed."""
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Before one that could not start is tried again; each time twice as long."""
_END_S = 5.0
"""How long closing waits for a process that was killed."""
_DAY_S = 86400.0


def gain_by_processes(retriever: Retriever) -> bool:
    """Return whether a command should search in processes: where there are several CPUs, and our own kernel computes.

    Torch is large, and computes for so long that its threads seldom wait for each other; a GPU is one for all. Windows
    cannot hand a connection to a process as is done here.
    """
    return sys.platform != "win32" and cpu_count() > 1 and retriever.encoder.fingerprint.dtype == "int8"


class ProcessPoolSearch:
    """Searches several batches at once, each in a process of its own; a `BatchSearch`, safe for several threads.

    The calling process has its interpreter for those who ask and for the scheduler, as a server needs it for every
    request. While no process is ready, the calling thread searches. A process that dies or hangs fails its batch and is
    replaced; one that cannot start is tried again and again, with a warning.

    Args:
        retriever: The retriever, made by `Retriever.open`: the processes open the same.
        recalls: Search effort of each level, as for `RetrieverSearch`.
        processes: How many; they start in the background, in about a second.
        timeout_s: A process that takes longer for a batch is killed, in seconds.

    Attributes:
        n_alive: Processes that are ready, or search.
        n_replaced: Processes that died or hung.
        here: Searches in the calling thread, which at rest saves the way to a process and back.

    Raises:
        QueryError: The retriever was not opened from a folder, or lacks a level.
    """

    def __init__(
        self, retriever: Retriever, recalls: Mapping[str, float | None], processes: int, timeout_s: float = 30.0
    ) -> None:
        if retriever.opener is None:
            raise QueryError("got a retriever made of parts; several processes need one of `Retriever.open`")
        self.here = RetrieverSearch(retriever, recalls)
        self._subnets = {level: retriever.encoder.resolve_subnet(level) for level in recalls}
        self._start = pickle.dumps((retriever.opener, retriever.index.manifest, dict(recalls)))
        self._longest_s = min(timeout_s, _DAY_S)  # the operating system knows no infinity
        self._lock, self.n_alive, self.n_replaced = Lock(), 0, 0
        self._changed = Condition(self._lock)
        self._free: deque[WorkerProcess] = deque()
        self._all: set[WorkerProcess] = set()
        self._is_closed = False
        self._error: str | None = None
        self._keepers = [
            Thread(target=self._keep, name=f"elasticdenser-process-{number}", daemon=True)
            for number in range(processes)
        ]
        self._starting = set(self._keepers)
        for keeper in self._keepers:
            keeper.start()

    def search_batch(self, queries: Sequence[Query], level: str) -> list[list[Hit]]:
        """Return the hits of each query, best first, at most its `k`.

        Raises:
            WorkerError: The process died or hung, or was ended by `close`.
        """
        return list(self.begin(queries, level)())

    def begin(self, queries: Sequence[Query], level: str) -> Callable[[], Collection[list[Hit]]]:
        """Give a batch to a process, and return what waits for its hits, which must be called.

        Raises:
            WorkerError: As for `search_batch`; so does what is returned.
        """
        with self._lock:
            process = self._free.pop() if self._free else None
        if process is None:
            return partial(self.here.search_batch, queries, level)
        try:
            process.ask(message_of(queries, level))
        except BaseException:
            self._ended(process)
            raise
        return partial(self._finish, process, level)

    def _finish(self, process: WorkerProcess, level: str) -> Found:
        """Return the hits of what a process was asked."""
        try:
            return Found(process.receive(self._longest_s), self._subnets[level])
        finally:
            self._ended(process)

    def _ended(self, process: WorkerProcess) -> None:
        """Note that a process is free; or kill it, if its answer was not read."""
        with self._lock:
            if not process.is_gone and process in self._all:
                self._free.append(process)
        if process.is_gone:
            process.kill()

    def wait(self) -> None:
        """Wait until all processes are ready, and have run every level once; or could not start; or `close` is called.

        Raises:
            WorkerError: None could start.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._starting)
            if self._error is not None and not self.n_alive and not self._is_closed:
                raise WorkerError(f"no search process could start: {self._error}")

    def close(self) -> None:
        """End the processes; safe to call again. What is asked for afterwards is searched by the thread that asks."""
        with self._changed:
            self._is_closed = True
            for process in self._all:
                process.kill()
            self._all.clear()
            self._free.clear()
            self._changed.notify_all()
        for keeper in self._keepers:
            keeper.join(_END_S)

    def _keep(self) -> None:
        """Keep a process until this is closed: start it, and another one whenever it ends."""
        pause_s = _PAUSE_S
        while not self._is_closed:
            try:
                self._run_one()
                pause_s = _PAUSE_S
            except Exception as error:  # as the operating system or, in the process, the opener raised it
                if self._is_closed:
                    return
                logger.warning("a search process could not start (%s): trying again in %g s", error, pause_s)
                with self._changed:
                    self._error = str(error)
                    self._has_started()
                    self._changed.wait_for(lambda: self._is_closed, pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _run_one(self) -> None:
        """Start a process, hand it to those who ask, and return when it has ended.

        Raises:
            Exception: It could not start.
        """
        # A process inherits this from the thread that starts it: signals for the whole group (Ctrl-C, SIGTERM) are for
        # the owner, who may need it to finish.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        process = WorkerProcess(self._longest_s)
        try:
            with self._lock:
                if self._is_closed:  # and whoever closed it did not see this one
                    return
                self._all.add(process)
            process.ask(self._start)
            process.receive(_START_S)
            with self._changed:
                if self._is_closed:
                    return
                self._free.append(process)
                self.n_alive += 1
                self._has_started()
            process.wait()
            with self._lock:
                self.n_alive -= 1
                if self._is_closed:
                    return
                self.n_replaced += 1
            logger.warning("a search process has died or hung: starting another")
        finally:
            with self._lock:
                self._all.discard(process)
                if process in self._free:
                    self._free.remove(process)
            # Whoever still waits for its answer reads the end of its channel, which goes with the last who holds it.
            process.kill()
            process.wait()

    def _has_started(self) -> None:
        self._starting.discard(current_thread())
        self._changed.notify_all()


class Found(Collection["list[Hit]"]):
    """The hits of each query, made of what a process found when they are looked at: until then others may go ahead."""

    def __init__(self, found: list[tuple[list[str], list[float]]], subnet: Subnet) -> None:
        self._found, self._subnet = found, subnet

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, hits: object) -> bool:
        return hits in list(self)

    def __iter__(self) -> Iterator[list[Hit]]:
        from elasticdenser.retrieval.retriever import Hit

        for number, (doc_ids, scores) in enumerate(self._found):
            query_id = str(number)
            yield [Hit(query_id, doc_id, score, self._subnet) for doc_id, score in zip(doc_ids, scores, strict=True)]
