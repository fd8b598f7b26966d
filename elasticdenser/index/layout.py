"""Names of an index's files and of the folders beside it; `indexes/README.md` documents the format."""

from __future__ import annotations

import os
from pathlib import Path

MANIFEST = "manifest.json"
VECTORS = "vectors.f32"
IDS = "ids.txt"
ID_OFFSETS = "ids.offsets"
ID_LOOKUP = "ids.lookup"
PASSAGES = "passages.jsonl"
PASSAGE_OFFSETS = "passages.offsets"
METADATA = "metadata.jsonl"
METADATA_OFFSETS = "metadata.offsets"
METADATA_TABLE = "metadata.sqlite"
LINE_FILES = {IDS: ID_OFFSETS, PASSAGES: PASSAGE_OFFSETS}
"""Files with a line for each passage -> files of the offsets of their lines."""
VERIFIED = ".checked.json"

SEGMENTS = "segments"
SHARDS = "shards"
CODEBOOKS = "codebooks"

PLAN = "plan.json"
JOURNAL = "journal.jsonl"


def building_folder(path: Path) -> Path:
    """Return the folder of the unfinished build of the index `path`."""
    return _beside(path, "building")


def replaced_folder(path: Path) -> Path:
    """Return the folder that holds the old index `path` while a new one is put in its place."""
    return _beside(path, "replaced")


def lock_file(path: Path) -> Path:
    """Return the file that is locked by the process that writes the index `path`."""
    return _beside(path, "lock")


def _beside(path: Path, purpose: str) -> Path:
    """Return `NAME.purpose` beside the folder `NAME`."""
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    return path.with_name(f"{path.name}.{purpose}") if path.name else path / purpose
