"""Manifests of the parts of an index, segments or shards, whose checksums are in the manifest of the whole."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from elasticdenser.index.layout import MANIFEST
from elasticdenser.index.manifest import FileEntry, Manifest, damaged, parsed_manifest


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
