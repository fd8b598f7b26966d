"""Handle of a worker process."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.messages import decode_reply

_GONE = "the worker process died or hung: try again"
_CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; main({file_descriptor})"


class WorkerProcess:
    """Process that runs the function `main` of a module, and replies to one message at a time.

    Args:
        timeout_s: Longest time that a part of a message may take to be sent or received.
        module: The module; its `main` is called with the file descriptor of a connection.

    Attributes:
        is_broken: Whether a message has no complete reply yet; if so, nothing else must be sent.

    Raises:
        OSError: The operating system cannot start another process.
    """

    def __init__(self, timeout_s: float, module: str = "elasticdenser.engine.processes.worker_main") -> None:
        self.is_broken = False
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6)))
            path = [str(entry) for entry in sys.path]
            code = _CODE.format(path=path, module=module, file_descriptor=theirs.fileno())
            # Not `multiprocessing`, which would run the user's script again. Output of libraries goes to stderr, so
            # that it does not mix with the owner's output.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2
            )
            self._connection = Connection(ours.detach())

    def send(self, message: bytes) -> None:
        """Send a message; call `receive` before the next one.

        Args:
            message: A message as the module's `main` expects it.

        Raises:
            WorkerError: The process died or hung.
        """
        self.is_broken = True  # until its reply has been read, also if an error is raised: the next caller would get it
        try:
            self._connection.send_bytes(message)
        except OSError as error:
            raise WorkerError(_GONE) from error

    def receive(self, timeout_s: float) -> Any:
        """Return the content of the reply.

        Args:
            timeout_s: Longest time until the reply, from now.

        Raises:
            WorkerError: The process died or hung.
            Exception: The error that the process replied with.
        """
        try:
            if not self._connection.poll(timeout_s):
                raise TimeoutError
            reply = self._connection.recv_bytes()
        except (OSError, EOFError) as error:
            raise WorkerError(_GONE) from error
        self.is_broken = False
        return decode_reply(reply)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process, which has no state to lose. A pending `receive` raises WorkerError at once."""
        self._process.kill()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()
