"""Manifest of a generation of a living index: its segments, and which of their passages are deleted.

An index that was built and never changed has none: it is one segment, in the folder itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from elasticdenser.index.layout import SEGMENTS
from elasticdenser.index.manifest import FileEntry
from elasticdenser.index.part_manifests import ManifestOfParts, check_part_names

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
class Generation(ManifestOfParts):
    """State of a living index between two changes.

    Args:
        generation: Its number; each change is one generation.
        segments: The segments, in the order of their passages.
    """

    generation: Annotated[int, msgspec.Meta(ge=1)]
    segments: tuple[SegmentEntry, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        files = [segment.deleted.file for segment in self.segments if segment.deleted]
        check_part_names("segment", [segment.name for segment in self.segments], files)
        if any(segment.deleted and segment.deleted.entry.bytes % _POSITION_BYTES for segment in self.segments):
            raise ValueError(f"a file of deleted positions does not have {_POSITION_BYTES} bytes for each")

    @property
    def names(self) -> list[str]:
        """Names of everything in the folder of segments that belongs to this generation."""
        deleted = [segment.deleted.file for segment in self.segments if segment.deleted]
        return [*(segment.name for segment in self.segments), *deleted]


def is_generation(value: dict[str, Any]) -> bool:
    """Return whether a parsed manifest is one of a generation, not of a single segment."""
    return SEGMENTS in value
