"""Manifest of a generation of a living index: its segments, and which of their passages are deleted.

An index that was built and never changed has none: it is one segment, in the folder itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from elasticdenser.index.chunking import Chunking
from elasticdenser.index.layout import SEGMENTS
from elasticdenser.index.manifest import FileEntry, is_file_name, parse_manifest, write_manifest
from elasticdenser.models.settings import EncoderFingerprint

VERSION = 5

_POSITION_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class DeletedPassages:
    """File of the positions of a segment's deleted passages, int64, in rising order; it is never altered.

    Args:
        file: Its name in the folder of segments.
        entry: Its size and checksum.
        n_documents: Number of deleted documents, if documents were cut into chunks.
    """

    file: str
    entry: FileEntry
    n_documents: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @property
    def n_passages(self) -> int:
        """Number of deleted passages."""
        return self.entry.bytes // _POSITION_BYTES


@dataclass(frozen=True, kw_only=True)
class SegmentEntry:
    """A segment of a generation.

    Args:
        name: Its folder in the folder of segments.
        manifest: Size and checksum of its manifest.
        deleted: Its deleted passages; None if there are none.
    """

    name: str
    manifest: FileEntry
    deleted: DeletedPassages | None = None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """State of a living index between two changes.

    Args:
        generation: Its number; each change is one generation.
        created: UTC, ISO 8601.
        software: Version of elasticdenser that wrote it.
        dim: Dimensions of a vector.
        has_texts: Whether the texts of the passages are stored.
        encoder: Fingerprint of the encoder of the first passages; that of further ones has the same vectors.
        chunking: How documents are cut into passages; None if they are not.
        segments: The segments, in the order of their passages.
        version: Version of the format.
    """

    generation: Annotated[int, msgspec.Meta(ge=1)]
    created: str
    software: str
    dim: Annotated[int, msgspec.Meta(ge=1)]
    has_texts: bool
    encoder: EncoderFingerprint
    chunking: Chunking | None
    segments: tuple[SegmentEntry, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        names = [segment.name for segment in self.segments]
        files = [segment.deleted.file for segment in self.segments if segment.deleted]
        if not all(map(is_file_name, (*names, *files))):
            raise ValueError(f"it names files outside of its folder: {', '.join((*names, *files))}")
        if len(set(names)) < len(names):
            raise ValueError(f"it names a segment twice: {', '.join(names)}")
        if any(segment.deleted and segment.deleted.entry.bytes % _POSITION_BYTES for segment in self.segments):
            raise ValueError(f"a file of deleted positions does not have {_POSITION_BYTES} bytes for each")

    def write(self, folder: Path) -> None:
        """Write the manifest of the index atomically: this is the moment at which a change happens."""
        write_manifest(folder, asdict(self))

    @classmethod
    def from_json(cls, path: Path, value: dict[str, Any]) -> Generation:
        """Return the generation that was read from the manifest at `path`.

        Raises:
            IndexFormatError: It is damaged.
        """
        return parse_manifest(cls, path, value, dict)

    @property
    def names(self) -> list[str]:
        """Names of everything in the folder of segments that belongs to this generation."""
        deleted = [segment.deleted.file for segment in self.segments if segment.deleted]
        return [*(segment.name for segment in self.segments), *deleted]


def is_generation(value: dict[str, Any]) -> bool:
    """Return whether a parsed manifest is one of a generation, not of a single segment."""
    return SEGMENTS in value
