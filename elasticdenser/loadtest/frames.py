"""Framing of messages between two processes of one machine; many messages share a frame, and so its cost."""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<I")


def frame_of(messages: list[Any]) -> bytes:
    """Return one frame with messages, which consist of numbers, strings, tuples and None."""
    # marshal is the fastest serialiser of the standard library. It is safe here: both ends run the same Python, and
    # trust each other.
    content = marshal.dumps(messages)
    return _LENGTH.pack(len(content)) + content


class FrameReader:
    """Reassembles frames from a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Add data, and yield the messages of each frame that is complete."""
        self._buffer += data
        start = 0
        while len(self._buffer) >= start + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            yield marshal.loads(self._buffer[start + _LENGTH.size : end])
            start = end
        del self._buffer[:start]
