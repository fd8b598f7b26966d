"""Text files, plain or compressed, as streams of numbered lines."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from elasticdenser.errors import BadInputError

COMPRESSIONS = (".gz", ".zst")

MAX_LINE_BYTES = 1 << 26
"""A longer line is refused: such a file is not one of records, and would fill the memory."""

_BUFFER_BYTES = 1 << 18
_ZSTD_CHUNK_BYTES = 1 << 14
_BOM = b"\xef\xbb\xbf"
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    r"""Stream a UTF-8 text file as (line number from 1, line without its end).

    Only `\n` and `\r\n` end a line: other characters at which `str.splitlines` would split (U+2028, form feed, ...)
    stay in it.

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


def read_raw_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Stream a file as (line number from 1, bytes of the line without its end), in bounded memory.

    Raises:
        BadInputError: The file is missing, damaged, or has a line of more than `MAX_LINE_BYTES`.
    """
    number = 0
    with _explained_errors(path), _open_binary(Path(path)) as stream:
        for number, raw in enumerate(iter(partial(stream.readline, MAX_LINE_BYTES), b""), start=1):
            if number == 1:
                raw = raw.removeprefix(_BOM)
            if raw.endswith(b"\n"):
                raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
            elif len(raw) == MAX_LINE_BYTES:
                message = f"the line is longer than {MAX_LINE_BYTES >> 20} MiB: expected one record a line"
                raise BadInputError(message, path, number)
            yield number, raw


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
    """Leave out compressed files whose content is among `paths` as a plain file, too."""
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


class _ZstdStream(io.RawIOBase):
    """Stream that decompresses zstd, frame after frame; python-zstandard's own does not notice a truncated file."""

    def __init__(self, source: BinaryIO) -> None:
        import zstandard

        self._source = source
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._error = zstandard.ZstdError
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
            self._frame = self._decompressor.decompressobj()
        try:
            output: bytes = self._frame.decompress(data)
        except self._error as error:
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
