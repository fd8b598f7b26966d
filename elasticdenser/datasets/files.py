"""Text files, plain or compressed, as streams of numbered lines."""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from elasticdenser.datasets.part_range import PartRange
from elasticdenser.errors import BadInputError

COMPRESSIONS = (".gz", ".zst")

MAX_LINE_BYTES = 1 << 26
"""A longer line (or record, or text of a file) is refused: it cannot be a passage, and would fill the memory."""

MAX_WINDOW_BYTES = 1 << 27
"""Memory that a zstd archive may ask for: the limit of the zstd program itself, unless it is called with --long."""

_BUFFER_BYTES = 1 << 18
_ZSTD_CHUNK_BYTES = 1 << 9
"""Bytes that are decompressed at a time. Four bytes can become a block of 128 KiB: this many, 16 MiB."""

_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    r"""Stream a UTF-8 text file as (line number from 1, line without its end).

    Only `\n` and `\r\n` end a line: other characters at which `str.splitlines` would split (U+2028, form feed, ...)
    stay in it. A byte order mark is removed.

    Raises:
        BadInputError: The file is missing, damaged or not UTF-8.
    """
    for number, raw in read_raw_lines(path):
        yield number, decode_line(raw, path, number)


def decode_line(raw: bytes, path: str | Path, number: int) -> str:
    """Decode one line strictly.

    Raises:
        BadInputError: It is not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(not_utf8(error), path, number) from error


def not_utf8(error: UnicodeDecodeError) -> str:
    """Return a message that says which byte is wrong and what to do."""
    byte = error.object[error.start]
    return f"byte 0x{byte:02x} at column {error.start + 1} is not UTF-8: convert the file to UTF-8"


def read_raw_lines(path: str | Path, within: PartRange | None = None) -> Iterator[tuple[int, bytes]]:
    """Stream a file as (line number from 1, bytes of the line without its end), in bounded memory.

    A byte order mark is removed from every line: files with one may have been concatenated.

    Args:
        path: The file.
        within: The lines to read; None reads all.

    Raises:
        BadInputError: The file is missing, damaged, UTF-16, or has a line of more than `MAX_LINE_BYTES`.
    """
    within = within or PartRange(start=0, stop=sys.maxsize)
    with open_stream(path) as stream:
        position = stream.seek(within.start) if within.start else 0
        for number, raw in enumerate(iter(partial(stream.readline, MAX_LINE_BYTES), b""), start=within.first):
            if position >= within.stop:
                return
            position += len(raw)
            raw = without_bom(raw)
            if number == 1:
                refuse_utf16(raw, path)
            if raw.endswith(b"\n"):
                raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
            elif len(raw) == MAX_LINE_BYTES:
                message = f"the line is longer than {MAX_LINE_BYTES >> 20} MiB: expected one record a line"
                raise BadInputError(message, path, number)
            yield number, raw


def read_text(path: str | Path) -> str:
    r"""Read a whole UTF-8 file, with `\n` as the end of lines.

    Raises:
        BadInputError: The file is missing, damaged, not UTF-8, or holds more than `MAX_LINE_BYTES`.
    """
    with open_stream(path) as stream:
        raw = without_bom(stream.read(MAX_LINE_BYTES + 1))
    refuse_utf16(raw, path)
    if len(raw) > MAX_LINE_BYTES:
        message = f"the file is longer than {MAX_LINE_BYTES >> 20} MiB, which is too much for one text: split it"
        raise BadInputError(message, path)
    lines = raw.replace(b"\r\n", b"\n").split(b"\n")
    return "\n".join(decode_line(line, path, number) for number, line in enumerate(lines, start=1))


@contextmanager
def open_stream(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, decompressed; its faults become errors that name it.

    Raises:
        BadInputError: The file is missing, damaged, or a compressed file under another name.
    """
    with _explained_errors(path), _open_binary(Path(path)) as stream:
        yield stream


def without_bom(raw: bytes) -> bytes:
    """Return bytes without the byte order mark that they may begin with."""
    return raw.removeprefix(_BOM)


def refuse_utf16(raw: bytes, path: str | Path) -> None:
    """Refuse a file that begins with the byte order mark of UTF-16, as Windows' shell writes it.

    Raises:
        BadInputError: It does.
    """
    if raw.startswith(_UTF16_BOMS):
        message = "the file is UTF-16, expected UTF-8: convert it (iconv -f UTF-16 -t UTF-8)"
        raise BadInputError(message, path)


def compression_of(path: str | Path) -> str:
    """Return `.gz`, `.zst` or nothing, according to the file's name."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix in COMPRESSIONS else ""


def text_suffix(path: str | Path) -> str:
    """Return the suffix in lower case, without that of a compression: `.jsonl` of `a.jsonl.gz`."""
    path = Path(path)
    return Path(path.stem).suffix.lower() if compression_of(path) else path.suffix.lower()


def bare_name(path: str | Path) -> str:
    """Return the path without its suffixes, in `/` notation: `x/a` of `x/a.jsonl.gz`."""
    path = Path(path)
    if compression_of(path):
        path = path.with_suffix("")
    return path.with_suffix("").as_posix()


def natural_order(path: str | Path) -> list[tuple[int, str]]:
    """Return a sort key under which `corpus-10` comes after `corpus-9`."""
    pieces = re.split(r"(\d+)", str(path))
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def without_copies(paths: Iterable[Path]) -> list[Path]:
    """Leave out compressed files of which there is also a plain copy in `paths`."""
    paths = list(paths)
    plain = {str(path) for path in paths if not compression_of(path)}
    return [path for path in paths if not compression_of(path) or str(path.with_suffix("")) not in plain]


@contextmanager
def _open_binary(path: Path) -> Iterator[BinaryIO]:
    with open(path, "rb") as file:
        compression = compression_of(path)
        head = file.peek(4)[:4]
        if compression and not head:
            raise EOFError
        if not compression:
            _refuse_renamed_archive(path, head)
            yield file
        elif compression == ".gz":
            with gzip.GzipFile(fileobj=file) as archive:
                yield io.BufferedReader(archive, _BUFFER_BYTES)
        else:
            yield io.BufferedReader(_ZstdStream(file), _BUFFER_BYTES)


def _refuse_renamed_archive(path: Path, head: bytes) -> None:
    for magic, suffix in _MAGIC.items():
        if head.startswith(magic):
            raise BadInputError(f"this is a compressed file: rename it to {path.name}{suffix}", path)


class _WindowError(Exception):
    """The archive asks for more memory than `MAX_WINDOW_BYTES`."""


class _ZstdStream(io.RawIOBase):
    """Stream that decompresses zstd, frame after frame, and notices a truncated file."""

    def __init__(self, source: BinaryIO) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_WINDOW_BYTES.bit_length() - 1}
        self._source = source
        self._new_frame = partial(zstd.ZstdDecompressor, options=limit)
        self._error = zstd.ZstdError
        self._frame: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._rest or self._source.read(_ZSTD_CHUNK_BYTES)
            if not data and self._frame is None:
                return 0
            if not data:
                raise EOFError
            self._ready = memoryview(self._decompress(data))
        n_bytes = min(len(buffer), len(self._ready))
        buffer[:n_bytes] = self._ready[:n_bytes]
        self._ready = self._ready[n_bytes:]
        return n_bytes

    def _decompress(self, data: bytes) -> bytes:
        if self._frame is None:
            self._frame = self._new_frame()
        try:
            output: bytes = self._frame.decompress(data)
        except self._error as error:
            if "too much memory" in str(error):
                raise _WindowError from error
            raise gzip.BadGzipFile(str(error)) from error
        self._rest = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame = None
        return output


@contextmanager
def _explained_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        fault = "is truncated" if isinstance(error, EOFError) else f"is damaged or not a {_archive_kind(path)}"
        raise BadInputError(f"the archive {fault}: fetch or compress it again", path) from error
    except _WindowError as error:
        message = (
            f"to decompress it takes more than {MAX_WINDOW_BYTES >> 20} MiB of memory: decompress it first (zstd -d "
            "--long=31)"
        )
        raise BadInputError(message, path) from error
    except FileNotFoundError as error:
        raise BadInputError("no such file: check the path", path) from error
    except IsADirectoryError as error:
        raise BadInputError("this is a folder, expected a file", path) from error
    except PermissionError as error:
        raise BadInputError("no permission to read it: check its owner and mode", path) from error
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror or error}", path) from error


def _archive_kind(path: str | Path) -> str:
    return "zstd file" if compression_of(path) == ".zst" else "gzip file"
