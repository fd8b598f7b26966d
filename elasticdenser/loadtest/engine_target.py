"""The engine under load: a process that is started for it."""

from __future__ import annotations

import multiprocessing
import select
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from socket import socket, socketpair
from typing import Any, Self

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.answers import Snapshot
from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.loadtest.engine_process import Opener, Ready, Start, serve
from elasticdenser.loadtest.frames import Frames, frame_of
from elasticdenser.loadtest.memory import held_bytes
from elasticdenser.loadtest.target import Asked, Reply, TargetError

_STATUSES = {status.value: status for status in Status}
_PIECE = 1 << 16
_BUFFER = 1 << 20
_GONE = "the engine's process has gone: see above for why"


class EngineTarget:
    """An engine in a process of its own; see `Target`. Use it as a context manager, or call `close`.

    Args:
        opener: Opens what is searched; called in that process, so it must pickle.
        profile: Levels and latencies; None measures them there.
        workers: How many; None is one for each usable CPU.
        in_processes: Whether they search in processes; None is where they gain by it.
        ready_s: How long opening may take.

    Attributes:
        profile: The levels.
        queries: Made of passages of the index, if it has texts.
        snapshot: What the engine says of the last run that has finished.

    Raises:
        TargetError: It cannot be opened.
    """

    def __init__(
        self,
        opener: Opener,
        profile: Profile | None = None,
        *,
        workers: int | None = None,
        in_processes: bool | None = None,
        ready_s: float = 600.0,
    ) -> None:
        self._workers, self._ready_s = cpu_count() if workers is None else workers, ready_s
        self._socket, theirs = socketpair()
        for side in (self._socket, theirs):
            _enlarge(side)
        self._control, their_control = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        # A daemon: it must not stay when this process ends.
        arguments = (theirs, their_control, opener, profile, in_processes, self._workers)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        _start_deaf(self._process)
        theirs.close()
        their_control.close()
        self._socket.setblocking(False)
        self._frames, self._unsent = Frames(), bytearray()
        self.snapshot: Snapshot | None = None
        self.profile: Profile
        try:
            ready = self._told(Ready)
        except BaseException:
            self.close()
            raise
        self.profile, self.queries = ready.profile, ready.queries

    def start(self, policy: str | Policy | PolicyFactory, deadline_s: float) -> None:
        """See `Target`."""
        self._ask(Start(policy=policy, deadline_s=deadline_s, workers=self._workers))
        self._told(str)

    def finish(self) -> None:
        """See `Target`; waits until the engine is closed."""
        self._unsent += frame_of([])
        while not self._control.poll(0.005):
            self.receive(0.005)
            if not self._process.is_alive():
                raise TargetError(_GONE)
        self.snapshot = self._told(Snapshot)
        self.receive(0.0)

    def send(self, asked: Sequence[Asked]) -> None:
        """See `Target`."""
        self._unsent += frame_of(list(map(tuple, asked)))
        self._send_on()

    def receive(self, timeout_s: float) -> list[Reply]:
        """See `Target`."""
        readable, writable, _ = select.select([self._socket], [self._socket] if self._unsent else [], [], timeout_s)
        if writable:
            self._send_on()
        if not readable:
            return []
        piece = self._socket.recv(_PIECE)
        if not piece:
            raise TargetError(_GONE)
        return [Reply(one[0], _STATUSES[one[1]], *one[2:]) for frame in self._frames.feed(piece) for one in frame]

    def memory_bytes(self) -> int | None:
        """See `Target`."""
        return held_bytes(self._process.pid or 0)

    def close(self) -> None:
        """See `Target`."""
        self._socket.close()
        self._control.close()
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send_on(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass  # the rest goes when there is room
        except OSError as error:
            raise TargetError(_GONE) from error

    def _ask(self, what: Start) -> None:
        try:
            self._control.send(what)
        except OSError as error:
            raise TargetError(_GONE) from error

    def _told(self, kind: type[Any]) -> Any:
        """Return what the process tells, of the kind that is due; anything else is an error's message."""
        return _received(self._control, kind, self._ready_s)


def _received(control: Connection, kind: type[Any], timeout_s: float) -> Any:
    try:
        if not control.poll(timeout_s):
            raise TargetError(f"the engine's process was not ready within {timeout_s:g} s")
        told = control.recv()
    except (EOFError, OSError) as error:
        raise TargetError(_GONE) from error
    if not isinstance(told, kind) or (kind is str and told != "ready"):
        raise TargetError(str(told))
    return told


def _start_deaf(process: Any) -> None:
    """Start a process that Ctrl-C does not reach: it belongs to this one, which ends it in order."""
    if threading.current_thread() is not threading.main_thread():
        process.start()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)


def _enlarge(one: socket) -> None:
    import socket as names

    for buffer in (names.SO_SNDBUF, names.SO_RCVBUF):
        one.setsockopt(names.SOL_SOCKET, buffer, _BUFFER)
