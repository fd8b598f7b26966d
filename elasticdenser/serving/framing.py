"""Boundaries of the messages of a connection.

Only the parser decides what a request is. The data is split before it gets there, so that no piece reaches beyond the
end of a head or of a body: every head can then be checked on its own, and nothing after a message is parsed too early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_LAST_OF_CHUNKS = b"\r\n\r\n"
"""End of a chunked body. It may also occur within, where it merely makes two pieces of one."""
_N_TAIL = len(_LAST_OF_CHUNKS) - 1


class RequestFraming:
    """Splits the data of one connection into pieces: a whole head, or a part of a body.

    The owner passes each piece to its parser, and reports what the parser found with `begin_body` and `end_message`.

    Attributes:
        is_in_head: Whether the next piece is a head.
    """

    def __init__(self) -> None:
        self.is_in_head = True
        self._data = bytearray()
        self._n_searched = 0  # bytes of an incomplete head in which no end was found
        self._n_left: int | None = 0  # bytes of the body that are missing; None if the body is chunked
        self._tail = b""  # last bytes of the previous piece of a chunked body

    @property
    def n_waiting(self) -> int:
        """Number of bytes that are not part of a piece yet."""
        return len(self._data)

    def add(self, data: bytes) -> None:
        """Append received data. Line breaks before a head are dropped, as the parser would skip them."""
        if self.is_in_head and not self._data:
            data = data.lstrip(b"\r\n")
        self._data += data

    def next_piece(self) -> bytes:
        """Remove and return the next piece; nothing if more data is needed for it."""
        if self.is_in_head:
            return self._next_head()
        if self._n_left is not None:
            piece = self._take(min(self._n_left, len(self._data)))
            self._n_left -= len(piece)
            return piece
        end = (self._tail + self._data[: len(_LAST_OF_CHUNKS)]).find(_LAST_OF_CHUNKS)
        if end >= 0:  # it began in the previous piece
            end -= len(self._tail)
        else:
            end = self._data.find(_LAST_OF_CHUNKS)
            if end < 0:
                end = len(self._data)
        piece = self._take(end + len(_LAST_OF_CHUNKS))
        self._tail = (self._tail + piece[-_N_TAIL:])[-_N_TAIL:]
        return piece

    def begin_body(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Note that a head is complete, with these headers: names in lower case, values accepted by the parser.

        Raises:
            ValueError: The length of the body is not a number.
        """
        self.is_in_head, self._tail = False, b""
        by_name = dict(headers)
        is_chunked = b"transfer-encoding" in by_name
        self._n_left = None if is_chunked else int(by_name.get(b"content-length", b"0"))

    def end_message(self) -> None:
        """Note that a message is complete; the next piece is a head.

        Raises:
            ValueError: By its length, the body is not complete.
        """
        if self._n_left:
            raise ValueError(f"{self._n_left} bytes of the body are missing")
        self.is_in_head = True
        if stripped := len(self._data) - len(self._data.lstrip(b"\r\n")):
            del self._data[:stripped]

    @property
    def is_body_overdue(self) -> bool:
        """Whether all of the body was returned, but `end_message` was not called."""
        return not self.is_in_head and self._n_left == 0

    def _next_head(self) -> bytes:
        end = _END_OF_HEAD.search(self._data, max(0, self._n_searched - 2))
        self._n_searched = 0 if end else len(self._data)
        return self._take(end.end()) if end else b""

    def _take(self, length: int) -> bytes:
        piece = bytes(self._data[:length])
        del self._data[:length]
        return piece
