"""Pool of worker processes: threads share one interpreter, and at the fastest levels mostly wait for it."""

from __future__ import annotations

import logging
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from threading import Condition, Lock, Thread, current_thread
from typing import TYPE_CHECKING

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.batch_search import BatchSearch, RetrieverSearch
from elasticdenser.engine.errors import IndexReplacedError, WorkerError
from elasticdenser.engine.processes.messages import LazyHits, encode_batch, encode_opening
from elasticdenser.engine.processes.worker_process import WorkerProcess
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.retrieval.hits import Hit
    from elasticdenser.retrieval.retriever import Retriever

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 600.0
"""A process that has not opened the index by then is killed: large indexes on slow disks take minutes."""
_MIN_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
"""Pause before a process that could not start is tried again; it doubles each time."""
_CLOSE_TIMEOUT_S = 5.0
"""Longest time that `close` waits for a supervisor thread: its process was killed, and ends at once."""
_MAX_TIMEOUT_S = 86400.0
"""Stands for infinity, which the operating system does not accept."""


def should_use_processes(retriever: Retriever) -> bool:
    """Return whether a command should search in processes: with several CPUs, and with the 8-bit kernel.

    Torch needs much memory in each process, and its threads seldom wait for each other, because its calls are long; a
    GPU is shared by all anyway. Windows cannot pass a socket to a process in the way used here.
    """
    return sys.platform != "win32" and cpu_count() > 1 and retriever.encoder.fingerprint.dtype == "int8"


class ProcessPoolSearch(BatchSearch):
    """Searches several batches at once, each in a process of its own. Thread-safe.

    The interpreter of the calling process remains free for clients and the scheduler. While no process is ready, the
    calling thread searches. A process that dies or hangs fails its batch and is replaced; a process that cannot start
    is tried again and again, with a warning. Once another index is in the place of the one that is searched, processes
    that die are not replaced, unless it is put back.

    Args:
        retriever: The retriever, opened by `Retriever.open`; each process opens the same.
        recalls: Search effort of each level, as for `RetrieverSearch`.
        processes: Number of processes; they start in the background, in about a second.
        timeout_s: A process that takes longer for a batch is killed.

    Attributes:
        n_alive: Number of processes that are ready or searching.
        n_replaced: Number of processes that died or hung.
        lost_index: Why processes that died are not replaced, if that is because the index was replaced; else None.

    Raises:
        QueryError: The retriever was not opened from a folder, or lacks a level.
    """

    is_asynchronous = True

    def __init__(
        self, retriever: Retriever, recalls: Mapping[str, float | None], processes: int, timeout_s: float = 30.0
    ) -> None:
        if retriever.opener is None:
            raise QueryError("got a retriever built from parts; search in processes needs one of `Retriever.open`")
        self._recalls = dict(recalls)
        self._local = RetrieverSearch(retriever, self._recalls)
        self._number = 0  # of the index that is searched, as the processes know it
        self._first_message = self._opening_of(retriever)
        self._timeout_s = min(timeout_s, _MAX_TIMEOUT_S)
        self._lock, self.n_alive, self.n_replaced = Lock(), 0, 0
        self._changed = Condition(self._lock)
        self._idle: deque[WorkerProcess] = deque()
        self._processes: set[WorkerProcess] = set()
        self._opened: dict[WorkerProcess, int] = {}  # number of the newest index of those that are ready
        self._wanted: WorkerProcess | None = None
        self._is_closed = False
        self._error: str | None = None
        self.lost_index: str | None = None
        self._supervisors = [
            Thread(target=self._supervise, name=f"elasticdenser-process-{number}", daemon=True)
            for number in range(processes)
        ]
        self._starting = set(self._supervisors)
        for supervisor in self._supervisors:
            supervisor.start()

    def search_batch(self, queries: Sequence[Query], level: str) -> list[list[Hit]]:
        """Search in the calling thread, which at low load is faster than a process; see `BatchSearch`."""
        return self._local.search_batch(queries, level)

    def shorten(self, text: str) -> str:
        """Return the query, shortened in the calling thread; see `BatchSearch`."""
        return self._local.shorten(text)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens, counted in the calling thread; see `BatchSearch`."""
        return self._local.count_tokens(text)

    def start_batch(self, queries: Sequence[Query], level: str) -> Callable[[], Collection[list[Hit]]]:
        """Send a batch to a process, and return a function that waits for its hits; see `BatchSearch`.

        Raises:
            WorkerError: The process died or hung, or was ended by `close`; also raised by the returned function.
        """
        with self._lock:
            process = self._idle.pop() if self._idle else None
            number = self._number
        if process is None:
            return partial(self._local.search_batch, queries, level)
        try:
            process.send(encode_batch(queries, level, number))
        except BaseException:
            self._release(process)
            raise
        return partial(self._receive_hits, process)

    def wait_until_ready(self) -> None:
        """Wait until each process has run every level once or failed to start, or until `close` is called.

        Raises:
            WorkerError: No process could start.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or not self._starting)
            if self.failure is not None and not self._is_closed:
                raise WorkerError(f"no worker process could start: {self.failure}")

    @property
    def failure(self) -> str | None:
        """Why no process can start; None while one is alive, or may still start."""
        return None if self.n_alive else self._error

    def close(self) -> None:
        """End the processes. Safe to call again; later batches are searched in the calling thread."""
        with self._changed:
            self._is_closed = True
            for process in self._processes:
                process.kill()
            self._processes.clear()
            self._idle.clear()
            self._changed.notify_all()
        for supervisor in self._supervisors:
            supervisor.join(_CLOSE_TIMEOUT_S)

    def refresh(self, retriever: Retriever) -> None:
        """Search with a retriever of a newer generation of the index from now on; batches that run end in the old one.

        One process after another opens that generation, between two batches, beside the one that it searches. Not for
        several threads at once.

        Args:
            retriever: The retriever; its index must still be the newest generation.

        Raises:
            WorkerError: A process could not open it, for instance as there is a newer one; the old one stays.
        """
        local, number = RetrieverSearch(retriever, self._recalls), self._number + 1
        message = encode_opening(retriever.index.manifest, number)
        for process in list(self._opened):
            if self._take(process):
                self._open(process, message, number)
        with self._changed:
            self._number, self._local = number, local
            self._first_message = self._opening_of(retriever)
            for process in [process for process, opened in self._opened.items() if opened != number]:
                process.kill()  # it has become ready meanwhile; its supervisor starts another
            self._error = self.lost_index = None
            self._changed.notify_all()

    def _open(self, process: WorkerProcess, message: bytes, number: int) -> None:
        """Let a process that was taken open another generation, and make it idle again."""
        try:
            process.send(message)
            process.receive(_START_TIMEOUT_S)
            with self._lock:
                if process in self._processes:
                    self._opened[process] = number
        except Exception as error:
            if process.is_broken:
                return  # it has died: its supervisor starts another, which opens what is searched then
            raise WorkerError(f"a worker process could not open the index again: {error}") from error
        finally:
            self._release(process)

    def _take(self, process: WorkerProcess) -> bool:
        """Wait until a process is idle, and keep it from other uses; return whether it is still alive."""
        with self._changed:
            if process in self._idle:
                self._idle.remove(process)
                return True
            self._wanted = process
            self._changed.wait_for(lambda: self._wanted is None or process not in self._opened or self._is_closed)
            was_taken, self._wanted = self._wanted is None, None
            return was_taken

    def _opening_of(self, retriever: Retriever) -> bytes:
        """Return the first message to a process."""
        return pickle.dumps((retriever.opener, retriever.index.manifest, self._recalls, self._number))

    def _receive_hits(self, process: WorkerProcess) -> LazyHits:
        try:
            return LazyHits(process.receive(self._timeout_s))
        finally:
            self._release(process)

    def _release(self, process: WorkerProcess) -> None:
        """Make a process idle; kill it instead if its reply was not read, or if the pool is closed."""
        with self._changed:
            is_usable = not process.is_broken and not self._is_closed
            if is_usable and process is self._wanted:
                self._wanted = None
                self._changed.notify_all()
            elif is_usable and process in self._processes:
                self._idle.append(process)
        if not is_usable:
            process.kill()

    def _supervise(self) -> None:
        """Start a process, and another one whenever it ends, until the pool is closed."""
        retry_s = _MIN_RETRY_S
        while not self._is_closed:
            try:
                self._run_process()
                retry_s = _MIN_RETRY_S
            except Exception as error:  # raised by the operating system, or by the retriever's opener in the process
                if self._is_closed:
                    return
                with self._changed:
                    self._record_failure(error, retry_s)
                    self._record_start()
                    number = self._number
                    self._changed.wait_for(partial(self._is_over, number), retry_s)
                retry_s = min(2 * retry_s, _MAX_RETRY_S)

    def _is_over(self, number: int) -> bool:
        """Return whether the pool is closed, or searches another index than the one of this number."""
        return self._is_closed or self._number != number

    def _run_process(self) -> None:
        """Start a process, make it available, and return when it has ended.

        Raises:
            Exception: The process could not start.
        """
        # A process inherits the signal mask of the thread that starts it. Signals to the whole process group (Ctrl-C,
        # SIGTERM) are meant for the owner, which may still need the process in order to finish.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        process = WorkerProcess(self._timeout_s)
        try:
            with self._lock:
                if self._is_closed:  # `close` did not see this process
                    return
                self._processes.add(process)
                number, message = self._number, self._first_message
            process.send(message)
            process.receive(_START_TIMEOUT_S)
            with self._changed:
                if self._is_closed or self._number != number:
                    return
                self._idle.append(process)
                self._opened[process] = number
                self.n_alive += 1
                self._error = self.lost_index = None
                self._record_start()
            process.wait()
            with self._lock:
                self.n_alive -= 1
                self._forget(process)  # at once: what sees that it is gone must not be given it for a batch
                if self._is_closed:
                    return
                self.n_replaced += 1
            logger.warning("a worker process has died or hung: starting another")
        finally:
            with self._changed:
                self._forget(process)
                self._changed.notify_all()
            # A thread that still waits for the reply then reads the end of the connection.
            process.kill()
            process.wait()

    def _forget(self, process: WorkerProcess) -> None:
        """Forget a process that has ended or did not start; called with the lock held."""
        self._processes.discard(process)
        self._opened.pop(process, None)
        if process in self._idle:
            self._idle.remove(process)

    def _record_failure(self, error: Exception, retry_s: float) -> None:
        """Record, and log, why a process could not start; called with the lock held."""
        self._error = str(error)
        if not isinstance(error, IndexReplacedError):
            logger.warning("a worker process could not start (%s): trying again in %g s", error, retry_s)
        elif self.lost_index != str(error):  # once, as nothing changes while it is tried again
            self.lost_index = str(error)
            logger.warning("worker processes that die are not replaced, %d are left: %s", self.n_alive, error)

    def _record_start(self) -> None:
        """Record that this supervisor's process has started or failed to start."""
        self._starting.discard(current_thread())
        self._changed.notify_all()
