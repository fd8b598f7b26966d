"""Files and folders that options name: outputs, lists of ids, keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from elasticdenser.errors import BadInputError, BuildError

STANDARD_OUTPUT = Path("/dev/stdout")


def output_file(path: Path) -> Path:
    """Return the path of an output file; `-` is standard output. Made for the callback of an option."""
    return STANDARD_OUTPUT if str(path) == "-" else path


def output_folder(path: Path | None) -> Path | None:
    """Refuse standard output, FIFOs and devices where a folder is written. Made for the callback of an option."""
    from elasticdenser.artifacts import explained_os_errors, is_stream

    if path is None:
        return None
    if str(path) == "-":
        raise typer.BadParameter("got -, which is standard output; expected a folder: for one named - write ./-")
    try:
        with explained_os_errors(path):
            streams = is_stream(path)
    except BuildError as error:
        raise typer.BadParameter(str(error)) from None
    if streams:
        raise typer.BadParameter(f"got {path}, which is a FIFO or a device; expected a folder")
    return path


def new_folder(place: str) -> Path:
    """Return the path of a folder to create; refuse what `output_folder` refuses."""
    path = Path(place)
    output_folder(path)
    return path


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a file, without its end; `-` is standard input.

    Raises:
        BadInputError: The file cannot be read, or is not UTF-8.
    """
    from elasticdenser.datasets.files import decode_line, read_lines, without_bom

    if str(path) != "-":
        yield from read_lines(path)
        return
    for number, raw in enumerate(sys.stdin.buffer, 1):
        yield number, decode_line(without_bom(raw), "standard input", number).removesuffix("\n").removesuffix("\r")


def read_ids(path: Path) -> list[str]:
    """Return the ids in a file, one a line; `-` is standard input.

    Raises:
        BadInputError: The file cannot be read, or holds no id.
    """
    ids = list(filter(None, (line.strip() for _, line in text_lines(path))))
    if not ids:
        raise BadInputError("no document id in it, nothing but blank lines: expected one id per line", path)
    return ids


def read_api_key(file: Path, kind: str = "API key") -> str:
    """Return the key in a file; messages call it by its kind.

    Raises:
        BadInputError: The file cannot be read, is not UTF-8, is empty, or holds more than one line.
    """
    try:
        key = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInputError(f"cannot read the {kind} ({reason}): expected a file of one line", file) from error
    if not key:
        raise BadInputError(f"the file is empty; expected the {kind}, in one line", file)
    if not key.isprintable():
        raise BadInputError(f"the file holds more than a line of text; expected the {kind}, in one line", file)
    return key
