"""HTTP/1.1 responses, parsed by httptools."""

from __future__ import annotations

from typing import NamedTuple

from elasticdenser.errors import MissingExtraError

try:
    from httptools import HttpParserError, HttpResponseParser
except ImportError as error:
    raise MissingExtraError("a load test over HTTP", "serve") from error


class HttpResponse(NamedTuple):
    """A response.

    Attributes:
        status: The HTTP status; 0 if the data is not a usable HTTP response.
        body: Content of the response.
        closes: Whether the connection cannot be used again.
    """

    status: int
    body: bytes
    closes: bool


_UNUSABLE = HttpResponse(0, b"", closes=True)


class HttpResponseReader:
    """Reassembles the responses of one connection, which carries one request at a time."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._response: HttpResponse | None = None
        self._body: list[bytes] = []
        self._has_length = self._is_body_unlimited = False

    def feed(self, data: bytes) -> HttpResponse | None:
        """Add data, and return the response once it is complete."""
        self._response = None
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            return _UNUSABLE if self._response is None else self._response._replace(closes=True)
        # Without a length the body ends with the connection, which the server may keep open.
        return _UNUSABLE if self._response is None and self._is_body_unlimited else self._response

    def on_message_begin(self) -> None:
        """Start a response (called by httptools, as all methods below)."""
        self._body = []
        self._has_length = False
        if self._response is not None:  # data after the response: nobody requested it
            self._response = self._response._replace(closes=True)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note whether the response states the length of its body."""
        self._has_length |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """Note whether the body has an end."""
        self._is_body_unlimited = not self._has_length

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Finish the response, unless it is an interim one such as 100 Continue."""
        self._is_body_unlimited = False
        status = self._parser.get_status_code()
        if status >= 200 and self._response is None:
            self._response = HttpResponse(status, b"".join(self._body), not self._parser.should_keep_alive())
