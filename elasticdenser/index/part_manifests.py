"""Manifests of an index of parts, segments or shards: that of the whole has the checksums of those of the parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.index.chunking import Chunking
from elasticdenser.index.layout import MANIFEST
from elasticdenser.index.manifest import (
    FileEntry,
    Manifest,
    damaged,
    is_file_name,
    parse_manifest,
    parsed_manifest,
    write_manifest,
)
from elasticdenser.models.settings import EncoderFingerprint


@dataclass(frozen=True, kw_only=True)
class ManifestOfParts:
    """Manifest of an index of parts: the fields that all kinds share.

    Args:
        created: UTC, ISO 8601.
        software: Version of elasticdenser that wrote it.
        dim: Dimensions of a vector.
        has_texts: Whether the texts of the passages are stored.
        encoder: Fingerprint of the encoder of the first passages; that of further ones has the same vectors.
        chunking: How documents are cut into passages; None if they are not.
        metadata: Types of the metadata fields by name, those of all parts; None without metadata.
        stemmer: Stemmer of the postings for search by words, which every part has; None if none has any.
        version: Version of the format.
    """

    created: str
    software: str
    dim: Annotated[int, msgspec.Meta(ge=1)]
    has_texts: bool
    encoder: EncoderFingerprint
    chunking: Chunking | None
    metadata: dict[str, str] | None = None
    stemmer: str | None = None
    version: int

    def __post_init__(self) -> None:
        for kind in (self.metadata or {}).values():
            FieldType.parse(kind)

    def write(self, folder: Path) -> None:
        """Write the manifest of the index atomically: this is the moment at which the index is built, or changes."""
        write_manifest(folder, asdict(self))

    @classmethod
    def from_json(cls, path: Path, value: dict[str, Any]) -> Self:
        """Return the manifest that was read from `path`.

        Raises:
            IndexFormatError: It is damaged.
        """
        return parse_manifest(cls, path, value, dict)


def check_part_names(kind: str, names: Sequence[str], files: Iterable[str] = ()) -> None:
    """Refuse names of parts that are given twice, or that lead out of the folder of an index.

    Args:
        kind: What the parts are called in messages.
        names: Names of folders.
        files: Names of files beside them.

    Raises:
        ValueError: There is one.
    """
    named = [*names, *files]
    if not all(map(is_file_name, named)):
        raise ValueError(f"it names files outside of its folder: {', '.join(named)}")
    if len(set(names)) < len(names):
        raise ValueError(f"it names a {kind} twice: {', '.join(names)}")


def read_part_manifest(folder: Path, entry: FileEntry) -> Manifest:
    """Return the manifest of the part in `folder`.

    Args:
        folder: The part.
        entry: Size and checksum of its manifest, as the manifest of the index has them.

    Raises:
        IndexFormatError: It is missing or damaged, or another one.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged(path, f"it cannot be read: {error.strerror}") from None
    if (len(content), hashlib.sha256(content).hexdigest()) != (entry.bytes, entry.sha256):
        raise damaged(path, "its SHA-256 is not the one in the manifest of the index")
    return _parsed(path, content)


@lru_cache(maxsize=256)
def _parsed(path: Path, content: bytes) -> Manifest:
    """Return a parsed manifest; a change reads those of all segments several times."""
    return Manifest.from_json(path, parsed_manifest(path, content))
