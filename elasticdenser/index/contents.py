"""Contents of an index on disk, of one segment, several, or shards, without opening its files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.generation import Generation, is_generation
from elasticdenser.index.layout import MANIFEST, SEGMENTS, SHARDS
from elasticdenser.index.lexical.info import is_file_of_postings
from elasticdenser.index.manifest import Manifest, damaged, read_manifest
from elasticdenser.index.merged_manifest import manifest_of_generation, manifest_of_shards
from elasticdenser.index.part_manifests import ManifestOfParts, read_part_manifest
from elasticdenser.index.segment_contents import SegmentContents
from elasticdenser.index.sharding.manifest import ShardedManifest, is_sharded


@dataclass(frozen=True, kw_only=True)
class IndexContents:
    """Contents of an index.

    Attributes:
        folder: Its folder.
        generation: The manifest of its generation; None for an index that was never changed.
        segments: Its segments, in the order of their passages; of a sharded index, its shards.
        manifest: Description of them together; of an index that was never changed, the manifest itself.
        sharded: The manifest of a sharded index; None for any other.
    """

    folder: Path
    generation: Generation | None
    segments: tuple[SegmentContents, ...]
    manifest: Manifest
    sharded: ShardedManifest | None = None

    @classmethod
    def read(cls, folder: Path) -> IndexContents:
        """Read the manifests of an index; of the newest generation, if another process changes it meanwhile.

        Raises:
            IndexFormatError: One is missing or damaged, or the format is newer.
        """
        while True:
            before = manifest_content(folder)
            try:
                return cls._read_once(folder)
            except IndexFormatError:
                if manifest_content(folder) == before:
                    raise  # else a segment is gone because a new generation has replaced it

    @classmethod
    def _read_once(cls, folder: Path) -> IndexContents:
        value = read_manifest(folder)
        if is_sharded(value):
            return cls._of_shards(folder, ShardedManifest.from_json(folder / MANIFEST, value))
        if not is_generation(value):
            manifest = Manifest.from_json(folder / MANIFEST, value)
            return cls(
                folder=folder,
                generation=None,
                segments=(SegmentContents(path=".", manifest=manifest),),
                manifest=manifest,
            )
        generation = Generation.from_json(folder / MANIFEST, value)
        segments = []
        for entry in generation.segments:
            path = f"{SEGMENTS}/{entry.name}"
            manifest = read_part_manifest(folder / path, entry.manifest)
            segments.append(SegmentContents(path=path, manifest=manifest, deleted=entry.deleted))
            _check_segment(folder, generation, segments[-1])
        return cls(
            folder=folder,
            generation=generation,
            segments=tuple(segments),
            manifest=manifest_of_generation(generation, segments),
        )

    @classmethod
    def _of_shards(cls, folder: Path, sharded: ShardedManifest) -> IndexContents:
        shards = []
        for entry in sharded.shards:
            path = f"{SHARDS}/{entry.name}"
            manifest = read_part_manifest(folder / path, entry.manifest)
            shards.append(SegmentContents(path=path, manifest=manifest))
            _check_segment(folder, sharded, shards[-1])
            if manifest.n_passages != entry.n_passages:
                raise damaged(
                    folder / path / MANIFEST,
                    f"got {manifest.n_passages:,} passages, but {entry.n_passages:,} in the manifest of the index",
                )
        manifest = manifest_of_shards(sharded, shards)
        return cls(folder=folder, generation=None, segments=tuple(shards), manifest=manifest, sharded=sharded)

    @property
    def is_one_folder(self) -> bool:
        """Whether all files are in the folder itself, in no segments or shards."""
        return self.generation is None and self.sharded is None

    @property
    def primary(self) -> Manifest:
        """The description without the files of search structures and postings, which can be built again."""
        return self.part(has_structure=False, has_postings=False)

    def part(self, *, has_structure: bool, has_postings: bool) -> Manifest:
        """Return the description with the files of search structures or of postings left out."""
        manifest = self.manifest
        files = {
            name: entry
            for name, entry in manifest.files.items()
            if (has_structure or name not in manifest.structure.files)
            and (has_postings or not is_file_of_postings(name))
        }
        return replace(manifest, files=files)

    @property
    def fields(self) -> dict[str, FieldType]:
        """Types of the metadata fields by name; empty without metadata."""
        return {name: FieldType.parse(kind) for name, kind in (self.manifest.metadata or {}).items()}

    def check_unsharded(self) -> None:
        """Refuse what cannot be done with a sharded index.

        Raises:
            BuildError: It is one.
        """
        if self.sharded is not None:
            raise BuildError(
                f"{self.folder} is an index of {len(self.segments)} shards, which are never changed: build it again "
                "from all documents with --overwrite"
            )

    @property
    def number(self) -> int:
        """Number of the generation; 0 for an index that was never changed."""
        return self.generation.generation if self.generation else 0


def manifest_content(folder: Path) -> bytes | None:
    """Return the bytes of the manifest of an index, which every change replaces; None if it cannot be read."""
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError:
        return None


def _check_segment(folder: Path, whole: ManifestOfParts, segment: SegmentContents) -> None:
    """Refuse a segment or shard that does not belong to the index.

    Raises:
        IndexFormatError: It has other vectors, chunks, metadata or words, or fewer passages than are deleted.
    """
    manifest, path = segment.manifest, folder / segment.path / MANIFEST
    differences = whole.encoder.differences_of_passages(manifest.encoder)
    if (whole.dim, whole.has_texts, whole.chunking) != (manifest.dim, manifest.has_texts, manifest.chunking):
        differences.append("dimensions, texts or chunks differ")
    if manifest.stemmer != whole.stemmer:
        differences.append(f"words by the stemmer {whole.stemmer} against {manifest.stemmer}")
    if not (manifest.metadata or {}).items() <= (whole.metadata or {}).items():
        differences.append("fields of metadata differ")
    if differences:
        raise damaged(path, f"it is of another index: {'; '.join(differences)}")
    if segment.n_passages < 1:
        raise damaged(path, f"all of its {manifest.n_passages:,} passages or more are deleted")
