"""Manifest of a sharded index: its shards, each of which is an index of its own, and the codebooks that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from elasticdenser.index.layout import MANIFEST, SHARDS
from elasticdenser.index.manifest import FileEntry, Manifest
from elasticdenser.index.part_manifests import ManifestOfParts, check_part_names
from elasticdenser.version import __version__

VERSION = 6


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A shard of an index.

    Args:
        name: Its folder in the folder of shards.
        n_passages: Number of its passages, so that a shard that cannot be reached can still be counted.
        manifest: Size and checksum of its manifest, which has those of all its files.
    """

    name: str
    n_passages: Annotated[int, msgspec.Meta(ge=1)]
    manifest: FileEntry


@dataclass(frozen=True, kw_only=True)
class Codebooks:
    """Codebooks that the search structures of all shards share, trained once on a sample of the passages of all.

    Args:
        factory: Factory strings of the structures, joined by " + ".
        n_sampled: Number of vectors in the sample.
        files: Size and checksum of the trained structures, which hold no passages, by their paths in the index; one
            for each factory string that needs training.
    """

    factory: str
    n_sampled: Annotated[int, msgspec.Meta(ge=1)]
    files: dict[str, FileEntry] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShardedManifest(ManifestOfParts):
    """Description of a sharded index.

    Args:
        shards: The shards, in the order of their passages.
        codebooks: What the search structures share; None if they need no training.
    """

    shards: Annotated[tuple[ShardEntry, ...], msgspec.Meta(min_length=1)]
    codebooks: Codebooks | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        check_part_names("shard", [shard.name for shard in self.shards])
        files = [] if self.codebooks is None else [Path(name) for name in self.codebooks.files]
        if any(file.is_absolute() or ".." in file.parts for file in files):
            raise ValueError(f"it names files outside of its folder: {', '.join(map(str, files))}")

    @property
    def n_passages(self) -> int:
        """Number of passages of all shards."""
        return sum(shard.n_passages for shard in self.shards)

    @classmethod
    def of_shards(cls, folder: Path, names: Sequence[str], codebooks: Codebooks | None = None) -> ShardedManifest:
        """Return the description of complete shards in `folder`, in the order of their names.

        Args:
            folder: The index, or its build folder.
            names: Names of the shards.
            codebooks: What their search structures share.

        Raises:
            IndexFormatError: A shard is missing or damaged, or not an index of one segment.
        """
        manifests = [Manifest.read(shard_folder(folder, name)) for name in names]
        first = manifests[0]
        return cls(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software=__version__,
            dim=first.dim,
            has_texts=first.has_texts,
            encoder=first.encoder,
            chunking=first.chunking,
            shards=tuple(
                ShardEntry(
                    name=name,
                    n_passages=manifest.n_passages,
                    manifest=FileEntry.of(shard_folder(folder, name) / MANIFEST),
                )
                for name, manifest in zip(names, manifests, strict=True)
            ),
            codebooks=codebooks,
            metadata={name: kind for manifest in manifests for name, kind in (manifest.metadata or {}).items()} or None,
            stemmer=first.stemmer,
        )


def is_sharded(value: dict[str, Any]) -> bool:
    """Return whether a parsed manifest is that of a sharded index."""
    return SHARDS in value


def shard_folder(folder: Path, name: str) -> Path:
    """Return the folder of a shard of the index in `folder`: an index that can be opened by itself."""
    return folder / SHARDS / name
