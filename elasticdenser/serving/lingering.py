"""Closing of a connection such that its client can still read the last response."""

from __future__ import annotations

import asyncio
from typing import Any

_LINGER_S = 1.0
"""A client gets this long to read the last response and close its side: some round trips."""

_STALL_TIMEOUT_S = 30.0
"""A client that takes no byte of a response for so long is cut off."""


class LingeringTransport(asyncio.Transport):
    """Transport whose `close` first ends the own side of the connection, then waits for the client to end its side.

    If a socket is closed while received data is unread, or receives more afterwards, the operating system resets the
    connection, and the client may lose the response. Data that arrives meanwhile must be ignored by the protocol.

    Args:
        transport: The transport of the event loop.
        loop: The event loop.

    Attributes:
        has_client_ended: Whether the client has ended its side; set by the protocol.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self.has_client_ended, self._is_lingering = False, False
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Send what is buffered, and close once the client has ended its side, or has had the time to."""
        if self.is_closing():
            return
        self._is_lingering = True
        self.watch_buffer()
        try:
            if not self.has_client_ended:
                self._transport.write_eof()
                self._transport.resume_reading()
                return
        except (OSError, RuntimeError):  # the client has closed the connection
            pass
        self._transport.close()

    def close_idle(self) -> None:
        """Send what is buffered, and close without waiting for the client: it has sent nothing since."""
        if not self.is_closing():
            self._is_lingering = True
            self.watch_buffer()
            self._transport.close()

    def abort(self) -> None:
        """Close at once, and discard what is buffered."""
        self._is_lingering = True
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._is_lingering or self._transport.is_closing()

    def write(self, data: Any) -> None:
        """Send data, unless the connection is about to be closed."""
        if not self._is_lingering:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Stop receiving."""
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        if not self.has_client_ended and not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the connection."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the operating system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def watch_buffer(self) -> None:
        """Cut the connection if the client stops reading what is buffered."""
        self.ignore_buffer()
        self._check_later(self.get_write_buffer_size(), _STALL_TIMEOUT_S)

    def ignore_buffer(self) -> None:
        """Undo `watch_buffer`."""
        if self._timer is not None:
            self._timer.cancel()

    def _check_later(self, n_unsent: int, patience_s: float) -> None:
        self._timer = self._loop.call_later(_LINGER_S, self._check, n_unsent, patience_s)

    def _check(self, n_before: int, patience_s: float) -> None:
        """Cut the connection, unless the client has read something of the response since the last check."""
        n_unsent = self.get_write_buffer_size()
        if n_unsent < n_before:
            self._check_later(n_unsent, _STALL_TIMEOUT_S)
        elif n_unsent and patience_s > 0:
            self._check_later(n_unsent, patience_s - _LINGER_S)
        else:
            self._transport.abort()
