"""A process that answers what it is asked: the owner's side of `search_process`."""

from __future__ import annotations

import marshal
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.request import Query

_GONE = "the search process has died or hung"
_START = (
    "import sys; sys.path[:] = {path!r}; from elasticdenser.engine.processes.worker_main import main; main({channel})"
)


class WorkerProcess:
    """A process that answers one message after the other.

    Args:
        timeout_s: How long a part of a message may take on its way, in seconds.

    Attributes:
        is_gone: What it was asked last has no answer, or only a part of it was read: nothing else may be asked.

    Raises:
        OSError: The operating system does not give another process.
    """

    def __init__(self, timeout_s: float) -> None:
        self.is_gone = False
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6)))
            code = _START.format(path=[str(one) for one in sys.path], channel=theirs.fileno())
            # Not `multiprocessing`: it would run the user's script again. What libraries print must not get between
            # what the owner prints.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2
            )
            self._channel = Connection(ours.detach())

    def ask(self, message: bytes) -> None:
        """Send a message; ask nothing else before its answer has been received.

        Args:
            message: What `search_process.main` expects.

        Raises:
            WorkerError: The process died or hung.
        """
        self.is_gone = True  # whatever is raised, until the answer has been read: who asks next would get it
        try:
            self._channel.send_bytes(message)
        except OSError as gone:
            raise WorkerError(_GONE) from gone

    def receive(self, within_s: float) -> Any:
        """Return the answer to what it was asked.

        Args:
            within_s: How long it may take from now, in seconds.

        Raises:
            WorkerError: The process died or hung.
            Exception: What it raised.
        """
        try:
            if not self._channel.poll(within_s):
                raise TimeoutError
            answered = self._channel.recv_bytes()
        except (OSError, EOFError) as gone:
            raise WorkerError(_GONE) from gone
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


def message_of(queries: Sequence[Query], level: str) -> bytes:
    """Return the message that asks `search_process.main` for the hits of some queries."""
    asked = [
        (_plain(one.text), int(one.k), None if one.doc_ids is None else frozenset(map(_plain, one.doc_ids)))
        for one in queries
    ]
    return marshal.dumps((_plain(level), asked))


def _plain(text: str) -> str:
    """Return a string of no subclass, such as NumPy's, which `marshal` does not write as one."""
    return str.__str__(text) if isinstance(text, str) else text
