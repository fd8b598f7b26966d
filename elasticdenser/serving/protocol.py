"""uvicorn's HTTP protocol with a limit on the head of a request, a time of arrival, and errors as JSON."""

from __future__ import annotations

import re
from time import perf_counter

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from elasticdenser.serving.errors import error_response

MAX_HEAD_BYTES = 1 << 16
"""Far above any real head. uvicorn's httptools protocol has no limit of its own."""

_UPGRADE_HEADER = re.compile(rb"\nupgrade:", re.IGNORECASE)
_END_OF_HEAD = re.compile(rb"\n\r?\n")


class Protocol(HttpToolsProtocol):
    """One connection.

    Sets `received_s` in the scope of each request: the time at which its head was complete, on the clock of
    `time.perf_counter`.
    """

    _is_in_head, _partial_head = True, b""

    def data_received(self, data: bytes) -> None:
        """Pass data on to the parser; a head only when it is complete."""
        if self._is_in_head:
            self._unset_keepalive_if_required()
            data = self._partial_head + data
            end = _END_OF_HEAD.search(data)
            length = end.end() if end else len(data)
            if length > MAX_HEAD_BYTES:
                self.send_400_response(f"the head of the request is longer than {MAX_HEAD_BYTES:,} bytes: shorten it")
                return
            self._partial_head = b"" if end else data
            if not end:
                return
            # Java's client and curl offer to upgrade to HTTP/2. A server may ignore the offer, but httptools would
            # treat everything after the head as another protocol, so the offer is hidden from it.
            data = _UPGRADE_HEADER.sub(b"\nX-Declined-Upgrade:", data[:length]) + data[length:]
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Note the time, and start the request."""
        self._is_in_head = False
        self.scope["received_s"] = perf_counter()  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request; the next data belongs to another one."""
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Respond to data that is not HTTP, and close the connection."""
        response = error_response(400, msg)
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
