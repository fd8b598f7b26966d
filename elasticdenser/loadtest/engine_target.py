"""Engine under load, in a process that is started for it."""

from __future__ import annotations

import multiprocessing
import select
import signal
import socket
import threading
from collections.abc import Sequence
from pickle import PicklingError
from typing import Any, Self

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.answers import Snapshot
from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.errors import QueryError
from elasticdenser.loadtest.engine_process import Opener, Ready, Start, serve
from elasticdenser.loadtest.frames import FrameReader, frame_of
from elasticdenser.loadtest.memory import resident_bytes
from elasticdenser.loadtest.target import LoadRequest, LoadResponse, TargetError

_STATUSES = {status.value: status for status in Status}
_MAX_READ_BYTES = 1 << 16
_SOCKET_BUFFER_BYTES = 1 << 20
"""Thousands of requests or responses: under overload neither process should wait for the other."""

_POLL_INTERVAL_S = 0.005
_CLOSE_TIMEOUT_S = 1.0
_PROCESS_ENDED = "the process of the engine has ended: see the output above for the reason"


class EngineTarget:
    """Engine in a process of its own; see `Target`. Use it as a context manager, or call `close`.

    Args:
        opener: Opens the index. It is called in the new process, so it must be picklable.
        profile: Levels and their latencies; None measures them in the new process.
        workers: Number of workers; None starts one for each usable CPU.
        in_processes: Whether the workers search in processes of their own; None decides by what is faster.
        rerankings: What is reranked at further levels if they are measured, as for `quick_profile`.
        ready_timeout_s: Time that opening the index may take.

    Attributes:
        profile: The levels.
        queries: Queries made from passages of the index, if it holds texts.
        snapshot: Snapshot of the engine at the end of the last run.

    Raises:
        TargetError: The index cannot be opened.
    """

    def __init__(
        self,
        opener: Opener,
        profile: Profile | None = None,
        *,
        workers: int | None = None,
        in_processes: bool | None = None,
        rerankings: Sequence[str] | None = None,
        ready_timeout_s: float = 600.0,
    ) -> None:
        self._workers, self._ready_timeout_s = cpu_count() if workers is None else workers, ready_timeout_s
        self._socket, child_socket = socket.socketpair()
        for end in (self._socket, child_socket):
            _enlarge_buffers(end)
        self._control, child_control = multiprocessing.Pipe()
        arguments = (child_socket, child_control, opener, profile, in_processes, self._workers, rerankings)
        # A daemon process ends with this process.
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
        _start_ignoring_sigint(self._process)
        child_socket.close()
        child_control.close()
        self._socket.setblocking(False)
        self._frames, self._unsent = FrameReader(), bytearray()
        self.snapshot: Snapshot | None = None
        self.profile: Profile
        try:
            ready = self._receive_control(Ready)
        except BaseException:
            self.close()
            raise
        self.profile, self.queries = ready.profile, ready.queries

    def start(self, policy: str | Policy | PolicyFactory, deadline_s: float) -> None:
        """See `Target`.

        Raises:
            QueryError: The policy is an object that cannot be pickled.
        """
        try:
            self._control.send(Start(policy=policy, deadline_s=deadline_s, workers=self._workers))
        except OSError as error:
            raise TargetError(_PROCESS_ENDED) from error
        except (PicklingError, AttributeError, TypeError) as error:
            message = f"got policy {policy!r}, which cannot be pickled for the process of the engine ({error})"
            raise QueryError(f"{message}: define it at the top of a module") from error
        self._receive_control(str)

    def finish(self) -> None:
        """See `Target`; returns when the engine is closed."""
        self._unsent += frame_of([])
        while not self._control.poll(_POLL_INTERVAL_S):
            self.receive(_POLL_INTERVAL_S)
            if not self._process.is_alive():
                raise TargetError(_PROCESS_ENDED)
        self.snapshot = self._receive_control(Snapshot)
        self.receive(0.0)

    def send(self, requests: Sequence[LoadRequest]) -> None:
        """See `Target`."""
        self._unsent += frame_of(list(map(tuple, requests)))  # marshal does not know named tuples
        self._send_unsent()

    def receive(self, timeout_s: float) -> list[LoadResponse]:
        """See `Target`."""
        readable, writable, _ = select.select([self._socket], [self._socket] if self._unsent else [], [], timeout_s)
        if writable:
            self._send_unsent()
        if not readable:
            return []
        try:
            data = self._socket.recv(_MAX_READ_BYTES)
        except ConnectionResetError:  # it has ended before it read everything
            data = b""
        if not data:
            raise TargetError(_PROCESS_ENDED)
        return [
            LoadResponse(number, _STATUSES[status], *rest)
            for messages in self._frames.feed(data)
            for number, status, *rest in messages
        ]

    def memory_bytes(self) -> int | None:
        """See `Target`."""
        return resident_bytes(self._process.pid or 0)

    def close(self) -> None:
        """See `Target`."""
        self._socket.close()
        self._control.close()
        self._process.join(_CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send_unsent(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass  # `receive` sends the rest
        except OSError as error:
            raise TargetError(_PROCESS_ENDED) from error

    def _receive_control(self, kind: type[Any]) -> Any:
        """Return the next control message.

        Raises:
            TargetError: The process has ended, took too long, or sent the message of an error instead of a `kind`.
        """
        try:
            if not self._control.poll(self._ready_timeout_s):
                raise TargetError(f"the process of the engine was not ready within {self._ready_timeout_s:g} s")
            message = self._control.recv()
        except (EOFError, OSError) as error:
            raise TargetError(_PROCESS_ENDED) from error
        if not isinstance(message, kind) or (kind is str and message != "ready"):
            raise TargetError(str(message))
        return message


def _start_ignoring_sigint(process: Any) -> None:
    """Start a process that ignores Ctrl-C: this process ends it in good order."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        process.start()
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, previous)


def _enlarge_buffers(end: socket.socket) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
