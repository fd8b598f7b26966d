"""Changes of indexes by clients, in a process of their own."""

from __future__ import annotations

import asyncio
import pickle
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from elasticdenser.datasets.passages import Passage
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.worker_process import WorkerProcess
from elasticdenser.errors import ElasticDenserError

_MODULE = "elasticdenser.serving.writer_main"
_MESSAGE_TIMEOUT_S = 60.0
"""Longest time to send or receive a part of a message."""

_HANG_TIMEOUT_S = 900.0
"""A change that takes longer is taken for one that hangs, and its process is killed: the index bears that."""


class WriterBusyError(ElasticDenserError):
    """Change that was not made in time, or not begun: it can be sent again."""


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Documents to add to an index, or to replace.

    Attributes:
        path: The index.
        passages: The documents.
        vectors: A vector for each; None to encode them.
        only_new: Leave out documents whose ids are in the index.
        encoder: Name of an encoder to use if the one that the index names is not on this machine.
        encoder_options: Options of the encoder, as `encoder_of` takes them.
    """

    path: Path
    passages: Sequence[Passage]
    vectors: Sequence[Sequence[float]] | None = None
    only_new: bool = False
    encoder: str | None = None
    encoder_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Documents to delete from an index.

    Attributes:
        path: The index.
        doc_ids: Their ids; None if a filter chooses them.
        filter: Filter that chooses them, as text.
    """

    path: Path
    doc_ids: Sequence[str] | None = None
    filter: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a change; the attributes are those of `elasticdenser.index.changes.Change`."""

    generation: int
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    unknown: Sequence[str] = ()


class PassageWriter:
    """Changes indexes one after another, in a process that has a small share of the CPUs.

    So encoding and writing neither take the server's Python nor much time from searches, and a fault ends nothing but
    that process. It starts with the first change, keeps its encoders, and is replaced if it has died.

    Args:
        max_waiting: Changes that may wait or be made at once; more are refused.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting, self.n_waiting = max_waiting, 0
        self._lock, self._is_closed = Lock(), False
        self._process: WorkerProcess | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="elasticdenser-writer", initializer=_block_signals)

    async def change(self, change: Addition | Deletion, timeout_s: float) -> Outcome:
        """Make a change; called in the event loop.

        Args:
            change: The change.
            timeout_s: Longest time to wait for it; it is made all the same.

        Raises:
            WriterBusyError: Too many changes wait, this one took too long, or its process died.
            ElasticDenserError: The change is not possible.
        """
        if self.n_waiting >= self._max_waiting:
            raise WriterBusyError(f"{self.n_waiting} changes are waiting: send the request again later")
        self.n_waiting += 1
        made = asyncio.get_running_loop().run_in_executor(self._pool, self._make, change)
        made.add_done_callback(self._count_made)
        await asyncio.wait({made}, timeout=timeout_s)
        if not made.done():
            raise WriterBusyError(
                f"the change was not made within {timeout_s:g} s, and goes on: send the same request again later"
            )
        try:
            return made.result()
        except WorkerError as error:
            message = "the process that changes the index has died: send the same request again"
            raise WriterBusyError(message) from error

    def close(self) -> None:
        """End the process, and with it the change that is being made: the index is then as before it, or as after."""
        with self._lock:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _count_made(self, made: asyncio.Future[Outcome]) -> None:
        self.n_waiting -= 1
        if not made.cancelled():
            made.exception()  # retrieved, so that asyncio does not warn if the client has stopped waiting

    def _make(self, change: Addition | Deletion) -> Outcome:
        """Make a change, in the only thread of the pool."""
        process = self._running_process()
        try:
            process.send(pickle.dumps(change))
            return Outcome(**process.receive(_HANG_TIMEOUT_S))
        finally:
            if process.is_broken:
                process.kill()

    def _running_process(self) -> WorkerProcess:
        """Return the process; a new one if there is none, or if it has ended."""
        with self._lock:
            if self._is_closed:
                raise WorkerError("the server is stopping: send the request again later")
            if self._process is None or self._process.is_broken or self._process.has_ended:
                self._process = WorkerProcess(_MESSAGE_TIMEOUT_S, _MODULE)
            return self._process


def _block_signals() -> None:
    """Make the process, which inherits it, survive signals to the whole group, such as Ctrl-C: the owner ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
