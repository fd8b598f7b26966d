"""Files that are documents: read as a whole, and left out with a reason where they hold no text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from elasticdenser.datasets import files
from elasticdenser.datasets.files import not_utf8, open_stream, refuse_utf16, without_bom
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.errors import BadInputError


class BadDocument(BadLine):
    """Fault of a file that is a document, as a whole: in a folder, the file is left out and counted by reason.

    Args:
        reason: As for `BadLine`.
        message: As for `BadLine`.
        line: Line of the fault, from 1.
    """

    def __init__(self, reason: str, message: str, line: int = 1) -> None:
        super().__init__(reason, message)
        self.line = line


class LeftOut(BadLine):
    """Fault of a document in a folder, or of a part of it, that is left out and counted whatever the settings."""


def document_records(
    records: Iterator[tuple[int, Record | BadLine]], path: str, name: str, *, may_be_left_out: bool
) -> Iterator[tuple[int, Record | BadLine]]:
    """Add the fields of the file to the records of a document, and turn the fault of a whole file into that of a line.

    Args:
        records: The records.
        path: The file.
        name: Its path in the folder, which becomes the field `path`.
        may_be_left_out: Whether a fault is no error.
    """
    fields: dict[str, str] = {}
    try:
        for number, record in records:
            if isinstance(record, BadLine):
                yield number, LeftOut(record.reason, record.message) if may_be_left_out else record
                continue
            fields = fields or {"path": name, "modified": _modified(path)}
            yield number, {**record, **fields}
    except BadDocument as fault:
        yield fault.line, LeftOut(fault.reason, fault.message) if may_be_left_out else fault


def _modified(path: str) -> str:
    """Return the time at which a file was last changed, in ISO form, in UTC."""
    time = datetime.fromtimestamp(int(Path(path).stat().st_mtime), UTC)
    return time.isoformat().replace("+00:00", "Z")


def read_document(path: str) -> str:
    r"""Return the text of a UTF-8 file, with `\n` as the end of lines.

    Raises:
        BadDocument: It cannot be read, is too large, binary, or not UTF-8.
    """
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        start = before.rfind(b"\n") + 1
        in_line = UnicodeDecodeError("utf-8", raw[start:], error.start - start, error.end - start, error.reason)
        raise BadDocument("not UTF-8", not_utf8(in_line), before.count(b"\n") + 1) from error


def read_bytes(path: str) -> bytes:
    """Return the bytes of a file of text in any encoding that has ASCII as a part, without a byte order mark.

    Raises:
        BadDocument: It cannot be read, is too large, or binary.
    """
    with open_document(path) as stream:
        raw = without_bom(stream.read(files.MAX_LINE_BYTES + 1))
    if len(raw) > files.MAX_LINE_BYTES:
        message = f"the file is longer than {files.MAX_LINE_BYTES >> 20} MiB, which is too much for one text: split it"
        raise BadDocument("too large", message)
    with _faults_of_document("not UTF-8"):
        refuse_utf16(raw, path)
    if b"\0" in raw:
        message = "the file is binary (it holds a NUL character), expected text: remove it, or give it another suffix"
        raise BadDocument("binary", message)
    return raw


@contextmanager
def open_document(path: str) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, decompressed.

    Raises:
        BadDocument: It cannot be read.
    """
    with _faults_of_document("cannot be read"), open_stream(path) as stream:
        yield stream


@contextmanager
def _faults_of_document(reason: str) -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        raise BadDocument(reason, str(error).removeprefix(f"{error.path}: ")) from error
