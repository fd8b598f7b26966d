"""HTTP as uvicorn speaks it, with a bound on the head of a request, the time it came, and errors in our form."""

from __future__ import annotations

import re
from time import perf_counter

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from elasticdenser.serving.errors import problem

MOST_HEAD_BYTES = 1 << 16
_OFFER = re.compile(rb"\nupgrade:", re.IGNORECASE)
_END = re.compile(rb"\n\r?\n")


class Protocol(HttpToolsProtocol):
    """One connection. Notes `came_s` in the scope, on the clock of `perf_counter`: when the head was read."""

    _is_in_head, _held = True, b""

    def data_received(self, data: bytes) -> None:
        """Take in what has come; a head only when it is complete."""
        if self._is_in_head:
            self._unset_keepalive_if_required()
            data = self._held + data
            end = _END.search(data)
            length = end.end() if end else len(data)
            if length > MOST_HEAD_BYTES:
                self.send_400_response(f"the head of the request is longer than {MOST_HEAD_BYTES:,} bytes: shorten it")
                return
            self._held = b"" if end else data
            if not end:
                return
            # Java's client and curl offer to go on in HTTP/2. Who may decline does so by not seeing the offer: the
            # parser would take what follows the head for another protocol.
            data = _OFFER.sub(b"\nX-Declined-Upgrade:", data[:length]) + data[length:]
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._is_in_head = False
        self.scope["came_s"] = perf_counter()  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that what comes next is another request."""
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and hang up."""
        response = problem(400, msg)
        head = [*response.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % header for header in head)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
