"""One kept-alive HTTP connection of a load test, without blocking."""

from __future__ import annotations

import errno
import selectors
import socket
from typing import Any

from elasticdenser.loadtest.http_api import HttpApi, read_response
from elasticdenser.loadtest.http_response import HttpResponse, HttpResponseReader
from elasticdenser.loadtest.target import LoadResponse

_MAX_READ_BYTES = 1 << 16


class HttpConnection:
    """A connection, and the request that waits for its response on it.

    Args:
        family: Family of the address.
        address: Address of the server, as `socket.socket.connect` takes it.
        selector: Watches the connection; its entry has the connection as data.
        api: Reads the responses.

    Attributes:
        is_closed: Whether the connection cannot be used again.

    Raises:
        OSError: There are no file descriptors left.
    """

    def __init__(self, family: int, address: Any, selector: selectors.BaseSelector, api: HttpApi) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._selector, self._api, self.is_closed = selector, api, False
        self._number: int | None = None
        self._unsent = b""
        self._reader = HttpResponseReader()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(address)  # a failure is noticed when the connection is read
        selector.register(self._socket, selectors.EVENT_READ, self)

    def send(self, number: int, request: bytes) -> None:
        """Start to send a request; the previous one must have its response."""
        self._number, self._unsent = number, request
        self.send_more()

    def send_more(self) -> None:
        """Send as much of the request as the socket takes."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # macOS reports this while the connection is being made
                self._unsent = b""  # reading will notice that the connection is closed
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if self._selector.get_key(self._socket).events != events:
            self._selector.modify(self._socket, events, self)

    def receive(self) -> LoadResponse | None:
        """Return the response if it is complete, or if the connection was closed instead."""
        try:
            data = self._socket.recv(_MAX_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        response = self._reader.feed(data) if data else HttpResponse(0, b"", closes=True)
        if response is None:
            return None
        number, self._number = self._number, None
        self.is_closed = response.closes or number is None  # nobody requested this response
        return None if number is None else read_response(self._api, number, response.status, response.body)

    def close(self) -> None:
        """Close the connection, and stop watching it."""
        self._selector.unregister(self._socket)
        self._socket.close()
