"""Arrays of JSON objects, split into their elements without being loaded as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from elasticdenser.datasets import files
from elasticdenser.datasets.files import not_utf8, open_stream, without_bom
from elasticdenser.datasets.records import BadLine
from elasticdenser.errors import BadInputError

_START = re.compile(rb"\s*\[\s*(\{|\]|$)")
_START_BYTES = 4096
_BLOCK_BYTES = 1 << 20
_OUTSIDE_STRINGS = re.compile(rb'["\[\]{},]')
_INSIDE_STRINGS = re.compile(rb'["\\]')


def is_array(path: str) -> bool:
    """Return whether a file begins with an array of objects."""
    with open_stream(path) as stream:
        return _START.match(without_bom(stream.read(_START_BYTES))) is not None


def array_elements(path: str) -> Iterator[tuple[int, str | BadLine]]:
    """Stream the elements of the array in a file, each as JSON, with the number of the line that it begins in.

    Raises:
        BadInputError: The file cannot be read, the array is not closed, something follows it, or an element is longer
            than `MAX_LINE_BYTES`.
    """
    splitter = _Splitter()
    with open_stream(path) as stream:
        block = without_bom(stream.read(_BLOCK_BYTES))
        while block:
            for number, raw in splitter.split(block):
                yield number, _decoded(raw)
            if len(splitter.rest) > files.MAX_LINE_BYTES:
                message = f"an element of the array is longer than {files.MAX_LINE_BYTES >> 20} MiB: split it"
                raise BadInputError(message, path, splitter.line)
            block = stream.read(_BLOCK_BYTES)
    if not splitter.is_closed:
        raise BadInputError("the JSON array is not closed: the file is incomplete, make it again", path, splitter.line)
    if splitter.rest.strip():
        message = "something follows the JSON array: expected one array, or one JSON object a line"
        raise BadInputError(message, path, splitter.line)


@dataclass
class _Splitter:
    """State of splitting an array, between two blocks.

    Attributes:
        rest: Bytes of the element that is not finished yet, or those after the array.
        line: Line in which they begin.
        scanned: Number of these bytes that were looked at; one more if the first of the next block is escaped.
        depth: Number of open brackets, that of the array included.
        in_string: Whether the rest ends within a string.
        is_closed: Whether the array was closed.
    """

    rest: bytes = b""
    line: int = 1
    scanned: int = 0
    depth: int = 0
    in_string: bool = False
    is_closed: bool = False

    def split(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the elements that end in a block, each with its line number."""
        data, position, start = self.rest + block, self.scanned, 0
        while not self.is_closed:
            match = (_INSIDE_STRINGS if self.in_string else _OUTSIDE_STRINGS).search(data, position)
            if match is None:
                break
            token, position = match[0], match.end()
            if token == b"\\":
                position += 1
            elif token == b'"':
                self.in_string = not self.in_string
            elif token in b"[{":
                self.depth += 1
                if self.depth == 1:
                    start = self._cut(data, start, position)
            elif token != b",":
                self.depth -= 1
                self.is_closed = self.depth == 0
            if self.is_closed or (token == b"," and self.depth == 1):
                element = data[start : match.start()]
                if token == b"," or element.strip():
                    yield self.line + _blank_lines(element), element.strip()
                start = self._cut(data, start, position)
        self.rest = data[start:].strip() if self.is_closed else data[start:]
        self.scanned = max(position, len(data)) - start

    def _cut(self, data: bytes, start: int, end: int) -> int:
        """Count the lines of the bytes that are finished, and return the start of the others."""
        self.line += data.count(b"\n", start, end)
        return end


def _blank_lines(element: bytes) -> int:
    """Return the number of line breaks before an element."""
    return element.count(b"\n", 0, len(element) - len(element.lstrip()))


def _decoded(raw: bytes) -> str | BadLine:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadLine("not UTF-8", not_utf8(error))
