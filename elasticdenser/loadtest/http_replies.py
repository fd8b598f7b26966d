"""Responses of HTTP/1.1, as far as a load test needs them."""

from __future__ import annotations

from typing import NamedTuple

_HEAD_END = b"\r\n\r\n"


class HttpReply(NamedTuple):
    """A response.

    Attributes:
        status: Its status; 0 if it was no HTTP.
        body: Its content.
        closes: Whether the server closes the connection after it.
    """

    status: int
    body: bytes
    closes: bool


class HttpReplies:
    """Puts responses together from pieces, one after the other."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, piece: bytes) -> HttpReply | None:
        """Take in a piece, and return the response once it is complete."""
        self._bytes += piece
        head, found, rest = self._bytes.partition(_HEAD_END)
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip().lower() for name, _, value in (s.partition(":") for s in lines)}
        version, _, after = first.partition(" ")
        status, length = after[:3], fields.get("content-length", "")
        is_http = version.startswith("HTTP/1.") and status.isdigit()
        if not is_http or (not length.isdigit() and fields.get("transfer-encoding") != "chunked"):
            self._bytes = b""
            return HttpReply(0, b"", closes=True)
        body = _of_chunks(rest) if not length else rest if len(rest) >= int(length) else None
        if body is None:
            return None
        self._bytes = b""  # nothing else is under way
        return HttpReply(int(status), body[: int(length)] if length else body, fields.get("connection") == "close")


def _of_chunks(rest: bytes) -> bytes | None:
    """Return what chunks hold, None if there are more to come."""
    body, at = b"", 0
    while (end := rest.find(b"\r\n", at)) >= 0:
        try:
            size = int(rest[at:end].split(b";")[0], 16)
        except ValueError:
            return b""
        if size == 0:
            return body if rest.find(b"\r\n", end + 2) >= 0 else None
        body += rest[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return None
