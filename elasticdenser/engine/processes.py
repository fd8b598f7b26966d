"""Searching in other processes: threads share one interpreter, and at the smallest sizes mostly wait for it."""

from __future__ import annotations

import logging
import marshal
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from threading import Condition, Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.request import Query
from elasticdenser.engine.searching import RetrieverSearch
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.retriever import Hit, Retriever

logger = logging.getLogger(__name__)

_START_S = 600.0
"""A process that has not opened the index by then is killed."""
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
"""Before one that could not start is tried again; each time twice as long."""
_END_S = 5.0
"""How long closing waits for a process that was killed."""
_DAY_S = 86400.0
_START = "import sys; sys.path[:] = {path!r}; from elasticdenser.engine.search_process import main; main({channel})"


def gain_by_processes(retriever: Retriever) -> bool:
    """Return whether a command should search in processes: where there are several CPUs, and our own kernel computes.

    Torch is large, and computes for so long that its threads seldom wait for each other; a GPU is one for all. Windows
    cannot hand a connection to a process as is done here.
    """
    return sys.platform != "win32" and cpu_count() > 1 and retriever.encoder.fingerprint.dtype == "int8"


class ProcessSearch:
    """Searches several batches at once, each in a process of its own; a `BatchSearch`, safe for several threads.

    The calling process has its interpreter for those who ask and for the scheduler: two workers get more done than as
    threads, and far past its capacity one answers nearly as many as at it. At rest, a single query that runs alone, the
    calling thread searches, which saves the way to a process and back; so it does while no process is ready. A process
    that dies or hangs fails its batch and is replaced; one that cannot start is tried again and again, with a warning.

    Args:
        retriever: The retriever, made by `Retriever.open`: the processes open the same.
        recalls: Search effort of each level, as for `RetrieverSearch`.
        processes: How many; they start in the background, in about a second.
        longest_s: A process that takes longer for a batch is killed, in seconds.

    Attributes:
        n_alive: Processes that are ready, or search.
        n_replaced: Processes that died or hung.

    Raises:
        QueryError: The retriever was not opened from a folder, or lacks a level.
    """

    def __init__(
        self, retriever: Retriever, recalls: Mapping[str, float | None], processes: int, longest_s: float = 30.0
    ) -> None:
        if retriever.opener is None:
            raise QueryError("got a retriever made of parts; several processes need one of `Retriever.open`")
        self._here = RetrieverSearch(retriever, recalls)
        self._subnets = {level: retriever.encoder.choose(level) for level in recalls}
        self._start = pickle.dumps((retriever.opener, dict(recalls)))
        self._longest_s = min(longest_s, _DAY_S)  # the operating system knows no infinity
        self._lock, self._n_running, self.n_alive, self.n_replaced = Lock(), 0, 0, 0
        self._changed = Condition(self._lock)
        self._free: deque[_Process] = deque()
        self._all: set[_Process] = set()
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
        with self._lock:
            self._n_running += 1
            is_at_rest = len(queries) == 1 and self._n_running == 1
            process = self._free.pop() if self._free and not is_at_rest else None
        try:
            if process is None:
                return self._here.search_batch(queries, level)
            return self._named(process.ask(_message(queries, level), self._longest_s), level)
        finally:
            with self._lock:
                self._n_running -= 1
                if process is not None and not process.is_gone and process in self._all:
                    self._free.append(process)
            if process is not None and process.is_gone:
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

    def _named(self, found: list[tuple[list[str], list[float]]], level: str) -> list[list[Hit]]:
        from elasticdenser.retriever import Hit

        subnet = self._subnets[level]
        return [
            [Hit(str(number), doc_id, score, subnet) for doc_id, score in zip(doc_ids, scores, strict=True)]
            for number, (doc_ids, scores) in enumerate(found)
        ]

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
        process = _Process(self._longest_s)
        try:
            with self._lock:
                if self._is_closed:  # and whoever closed it did not see this one
                    return
                self._all.add(process)
            process.ask(self._start, _START_S)
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
            process.end()

    def _has_started(self) -> None:
        self._starting.discard(current_thread())
        self._changed.notify_all()


class _Process:
    """A process that answers one message after the other.

    Args:
        longest_s: How long a part of a message may take on its way, in seconds.

    Attributes:
        is_gone: What it was asked last has no answer, or only a part of it was read: nothing else may be asked.

    Raises:
        OSError: The operating system does not give another process.
    """

    def __init__(self, longest_s: float) -> None:
        self.is_gone, self._asking = False, Lock()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(longest_s), int(longest_s % 1 * 1e6)))
            code = _START.format(path=[str(one) for one in sys.path], channel=theirs.fileno())
            # Not `multiprocessing`: it would run the user's script again. What libraries print must not get between
            # what the owner prints.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2
            )
            self._channel = Connection(ours.detach())

    def ask(self, message: bytes, within_s: float) -> Any:
        """Send a message and return the answer.

        Args:
            message: What `search_process.main` expects.
            within_s: How long the answer may take, in seconds.

        Raises:
            WorkerError: The process died or hung.
            Exception: What it raised.
        """
        with self._asking:
            self.is_gone = True  # whatever is raised, until the answer has been read: who asks next would get it
            try:
                self._channel.send_bytes(message)
                if not self._channel.poll(within_s):
                    raise TimeoutError
                answered = self._channel.recv_bytes()
            except (OSError, EOFError) as gone:
                raise WorkerError("the search process has died or hung") from gone
            self.is_gone = False
        answer, error = marshal.loads(answered)
        if error is not None:
            raise pickle.loads(error)
        return answer

    def kill(self) -> None:
        """Kill it: it holds nothing that could be lost. Whoever asks it has a `WorkerError` at once."""
        self._process.kill()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait()

    def end(self) -> None:
        """Kill it, and let go of it."""
        self.kill()
        self.wait()
        with self._asking:  # a closed channel's number could be another file's
            self._channel.close()


def _message(queries: Sequence[Query], level: str) -> bytes:
    asked = [
        (_plain(one.text), int(one.k), None if one.doc_ids is None else frozenset(map(_plain, one.doc_ids)))
        for one in queries
    ]
    return marshal.dumps((_plain(level), asked))


def _plain(text: str) -> str:
    """Return a string of no subclass, such as NumPy's, which `marshal` does not write as one."""
    return str.__str__(text) if isinstance(text, str) else text
