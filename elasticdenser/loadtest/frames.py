"""Messages between two processes of one machine: many in a frame, so that a frame's cost is shared."""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<I")


def frame_of(messages: list[Any]) -> bytes:
    """Return messages, made of numbers, strings, tuples and None, as one frame."""
    # Both ends are the same Python, and each trusts the other: nothing is faster.
    content = marshal.dumps(messages)
    return _LENGTH.pack(len(content)) + content


class Frames:
    """Takes frames apart that come in pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> Iterator[list[Any]]:
        """Take in a piece, and yield the messages of each frame that is complete."""
        self._bytes += piece
        start = 0
        while len(self._bytes) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes, start)
            end = start + _LENGTH.size + length
            if len(self._bytes) < end:
                break
            yield marshal.loads(self._bytes[start + _LENGTH.size : end])
            start = end
        del self._bytes[:start]
