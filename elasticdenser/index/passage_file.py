"""File of the passages of an index, one a line of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.line_files import LineFile


class _Record(msgspec.Struct):
    """Line of the file; other keys are ignored."""

    doc_id: str = msgspec.field(name="_id")
    title: str
    text: str


_RECORD = msgspec.json.Decoder(_Record)


class PassageFile:
    """Passages by position.

    Args:
        path: The lines.
        offsets: Their offsets; see `LineFile`.

    Raises:
        IndexFormatError: The two files do not belong together.
    """

    def __init__(self, path: Path, offsets: Path) -> None:
        self._path, self.lines = path, LineFile(path, offsets)

    def __iter__(self) -> Iterator[Passage]:
        for position in range(len(self.lines)):
            yield self[position]

    def __getitem__(self, position: int) -> Passage:
        try:
            record = _RECORD.decode(self.lines[position])
        except msgspec.DecodeError as error:
            raise IndexFormatError(
                f"{self._path} is damaged (passage {position} cannot be read: {error}): restore the index from a copy, "
                "or build it again with --overwrite"
            ) from None
        return Passage(doc_id=record.doc_id, title=record.title, text=record.text)
