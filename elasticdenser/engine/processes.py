"""Searching in other processes: threads share one interpreter, and at the smallest sizes mostly wait for it."""

from __future__ import annotations

import marshal
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.request import Query
from elasticdenser.engine.searching import RetrieverSearch
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.retriever import Hit, Retriever

_HANG_S = 30.0
"""A process that says nothing for so long is killed; the engine has long given up on its batch."""
_START_S = 600.0
"""Likewise while it opens the index."""
_START = "import sys; sys.path[:] = {path!r}; from elasticdenser.engine.search_process import main; main({channel})"


def gain_by_processes(retriever: Retriever) -> bool:
    """Return whether a command should search in processes: where there are several CPUs, and our own kernel computes.

    Torch is large, and computes for so long that its threads seldom wait for each other; a GPU is one for all.
    """
    return cpu_count() > 1 and retriever.encoder.fingerprint.dtype == "int8"


class ProcessSearch:
    """Searches several batches at once, each in a process of its own; a `BatchSearch`, safe for several threads.

    The calling process has its interpreter for those who ask and for the scheduler: two workers get more done than as
    threads, and far past its capacity one answers nearly as many as at it. At rest, a single query that runs alone, the
    calling thread searches, which saves the way to a process and back; so it does while no process is ready. A process
    that dies or hangs fails its batch and is replaced.

    Args:
        retriever: The retriever, made by `Retriever.open`: the processes open the same.
        recalls: Search effort of each level, as for `RetrieverSearch`.
        processes: How many; they start in the background, in about a second.

    Attributes:
        n_replaced: Processes that died or hung.

    Raises:
        QueryError: The retriever was not opened from a folder, or lacks a level.
    """

    def __init__(self, retriever: Retriever, recalls: Mapping[str, float | None], processes: int) -> None:
        if retriever.opener is None:
            raise QueryError("got a retriever made of parts; several processes need one of `Retriever.open`")
        self._here = RetrieverSearch(retriever, recalls)
        self._subnets = {level: retriever.encoder.choose(level) for level in recalls}
        self._start = pickle.dumps((retriever.opener, dict(recalls)))
        self._lock, self._n_running, self.n_replaced = Lock(), 0, 0
        self._free: deque[_Process] = deque()
        self._all: set[_Process] = set()
        self._is_closed = False
        self._error: str | None = None
        self._starting = [self._start_another() for _ in range(processes)]

    def search_batch(self, queries: Sequence[Query], level: str) -> list[list[Hit]]:
        """Return the hits of each query, best first, at most its `k`.

        Raises:
            WorkerError: The process died or hung.
        """
        with self._lock:
            self._n_running += 1
            is_at_rest = len(queries) == 1 and self._n_running == 1
            process = self._free.pop() if self._free and not is_at_rest else None
        try:
            if process is None:
                return self._here.search_batch(queries, level)
            return self._named(process.ask((level, [(one.text, one.k, one.doc_ids) for one in queries])), level)
        finally:
            with self._lock:
                self._n_running -= 1
                if process is not None and not process.is_gone:
                    self._free.append(process)
            if process is not None and process.is_gone:
                self._replace(process)

    def wait(self) -> None:
        """Wait until all processes are ready; each has then run every level once.

        Raises:
            WorkerError: One could not start.
        """
        for done in self._starting:
            done.wait()
        if self._error is not None:
            raise WorkerError(f"a search process could not start: {self._error}")

    def close(self) -> None:
        """End the processes; safe to call again. What is asked for afterwards is searched by the thread that asks."""
        with self._lock:
            self._is_closed = True
            processes = list(self._all)
            self._all.clear()
            self._free.clear()
        for process in processes:
            process.end()

    def _named(self, found: list[tuple[list[str], list[float]]], level: str) -> list[list[Hit]]:
        from elasticdenser.retriever import Hit

        subnet = self._subnets[level]
        return [
            [Hit(str(number), doc_id, score, subnet) for doc_id, score in zip(doc_ids, scores, strict=True)]
            for number, (doc_ids, scores) in enumerate(found)
        ]

    def _start_another(self) -> Event:
        done = Event()
        Thread(target=self._add, args=(done,), name="elasticdenser-starting", daemon=True).start()
        return done

    def _add(self, done: Event) -> None:
        """Start a process and wait until it is ready."""
        process = _Process()
        with self._lock:
            self._all.add(process)
        try:
            process.ask_bytes(self._start, _START_S)
        except Exception as error:  # as the opener raised it, in the process
            self._error = str(error)
            process.is_gone = True
        with self._lock:
            is_wanted = not (process.is_gone or self._is_closed)
            if is_wanted:
                self._free.append(process)
            else:
                self._all.discard(process)
        if not is_wanted:
            process.end()
        done.set()

    def _replace(self, process: _Process) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._all.discard(process)
            self.n_replaced += 1
        process.end()
        self._start_another()


class _Process:
    """A process that answers one message after the other."""

    def __init__(self) -> None:
        self._channel, theirs = Pipe()
        code = _START.format(path=sys.path, channel=theirs.fileno())
        # Not `multiprocessing`: it would run the user's script again.
        self._process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
        theirs.close()
        self.is_gone = False
        self._ending = Lock()

    def ask(self, message: Any) -> Any:
        """Send a message and return the answer.

        Raises:
            WorkerError: The process died or hung.
            Exception: What it raised.
        """
        return self.ask_bytes(marshal.dumps(message), _HANG_S)

    def ask_bytes(self, message: bytes, within_s: float) -> Any:
        """Send a message that is ready to be sent, and return the answer; see `ask`."""
        try:
            self._channel.send_bytes(message)
            if not self._channel.poll(within_s):
                raise EOFError
            answer, error = marshal.loads(self._channel.recv_bytes())
        except (OSError, EOFError) as gone:
            self.is_gone = True
            raise WorkerError("its search process has died or hung") from gone
        if error is not None:
            raise pickle.loads(error)
        return answer

    def end(self) -> None:
        """End the process: it holds nothing that could be lost."""
        self._process.kill()
        with self._ending:
            self._process.wait()
            self._channel.close()
