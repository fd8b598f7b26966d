"""Contents of an index on disk, of one segment, several, or shards, without opening its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index.efforts import Effort, select_effort
from elasticdenser.index.generation import DeletedPassages, Generation, is_generation
from elasticdenser.index.layout import MANIFEST, SEGMENTS, SHARDS
from elasticdenser.index.manifest import FileEntry, Manifest, Origin, StructureInfo, damaged, read_manifest
from elasticdenser.index.part_manifests import read_part_manifest
from elasticdenser.index.sharding.manifest import ShardedManifest, is_sharded

_ORIGINS: tuple[Origin, ...] = ("decoded", "exact", "encoded")
"""Of several segments, the first that one of them has is said of all."""

_MAX_SOURCES = 4
"""Sources that are named; an index may get thousands of small additions."""

_SOURCES_JOINED_BY, _MORE_SOURCES = " + ", "others"

_NO_STRUCTURE = StructureInfo(factory="Flat", efforts=(Effort(rescored=0, recall_at_10=1.0),), n_sampled=0)
"""Structure of an index without passages."""


@dataclass(frozen=True, kw_only=True)
class SegmentContents:
    """Contents of a segment.

    Attributes:
        path: Its folder, relative to that of the index.
        manifest: Its manifest.
        deleted: Its deleted passages; None if there are none.
    """

    path: str
    manifest: Manifest
    deleted: DeletedPassages | None = None

    @property
    def name(self) -> str:
        """Its name in the manifest of the generation."""
        return Path(self.path).name

    @property
    def n_passages(self) -> int:
        """Number of passages that are not deleted."""
        return self.manifest.n_passages - (self.deleted.n_passages if self.deleted else 0)

    @property
    def n_documents(self) -> int | None:
        """Number of documents that are not deleted, if documents were cut into chunks."""
        n_documents = self.manifest.n_documents
        return n_documents if n_documents is None else n_documents - ((self.deleted and self.deleted.n_documents) or 0)

    @property
    def files(self) -> dict[str, FileEntry]:
        """Size and checksum of every file, by its path in the folder of the index."""
        files = {str(Path(self.path, name)): entry for name, entry in self.manifest.files.items()}
        if self.deleted is not None:
            files[f"{SEGMENTS}/{self.deleted.file}"] = self.deleted.entry
        return files


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
            manifest=_manifest_of_generation(generation, segments),
        )

    @classmethod
    def _of_shards(cls, folder: Path, sharded: ShardedManifest) -> IndexContents:
        shards = []
        for entry in sharded.shards:
            path = f"{SHARDS}/{entry.name}"
            manifest = read_part_manifest(folder / path, entry.manifest)
            shards.append(SegmentContents(path=path, manifest=manifest))
            _check_segment(folder, sharded, shards[-1])
            if manifest.n_passages != entry.n_passages or manifest.metadata or manifest.lexical:
                raise damaged(
                    folder / path / MANIFEST,
                    f"expected {entry.n_passages:,} passages without metadata and words, as a shard has them",
                )
        manifest = _manifest_of_shards(sharded, shards)
        return cls(folder=folder, generation=None, segments=tuple(shards), manifest=manifest, sharded=sharded)

    @property
    def is_one_folder(self) -> bool:
        """Whether all files are in the folder itself, in no segments or shards."""
        return self.generation is None and self.sharded is None

    @property
    def primary(self) -> Manifest:
        """The description without the files of search structures, which can be built again."""
        derived = self.manifest.structure.files
        files = {name: entry for name, entry in self.manifest.files.items() if name not in derived}
        return replace(self.manifest, files=files)

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

    def check_changeable(self) -> None:
        """Refuse a change of an index that changes would damage.

        Raises:
            BuildError: It is sharded, or has metadata or postings, which only builds write.
        """
        self.check_unsharded()
        kinds = {"metadata": self.manifest.metadata, "postings for search by words": self.manifest.lexical}
        if held := " and ".join(name for name, value in kinds.items() if value):
            raise BuildError(
                f"{self.folder} holds {held}, which changes cannot keep up to date yet: build it again from all "
                "documents with --overwrite, or without --metadata and --hybrid"
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


def _check_segment(folder: Path, generation: Generation | ShardedManifest, segment: SegmentContents) -> None:
    """Refuse a segment or shard that does not belong to the index.

    Raises:
        IndexFormatError: It has other vectors or chunks, or fewer passages than are deleted.
    """
    manifest, path = segment.manifest, folder / segment.path / MANIFEST
    differences = generation.encoder.differences_of_passages(manifest.encoder)
    if (generation.dim, generation.has_texts, generation.chunking) != (
        manifest.dim,
        manifest.has_texts,
        manifest.chunking,
    ):
        differences.append("dimensions, texts or chunks differ")
    if differences:
        raise damaged(path, f"it is of another index: {'; '.join(differences)}")
    if segment.n_passages < 1:
        raise damaged(path, f"all of its {manifest.n_passages:,} passages or more are deleted")


def _manifest_of_generation(generation: Generation, segments: Sequence[SegmentContents]) -> Manifest:
    if segments:
        manifest = merged_manifest(segments)
    else:
        manifest = Manifest(
            created=generation.created,
            software=generation.software,
            n_passages=0,
            dim=generation.dim,
            vectors="encoded",
            has_texts=generation.has_texts,
            encoder=generation.encoder,
            corpus={"sources": "nothing", "sha256": fingerprint_of([]), "skipped": {}},
            structure=_NO_STRUCTURE,
            files={},
            n_truncated=0,
            chunking=generation.chunking,
            n_documents=None if generation.chunking is None else 0,
        )
    return replace(
        manifest,
        created=generation.created,
        software=generation.software,
        encoder=generation.encoder,
        version=generation.version,
    )


def _manifest_of_shards(sharded: ShardedManifest, shards: Sequence[SegmentContents]) -> Manifest:
    """Return the description of shards together; every effort reaches its recall in each of them."""
    manifest = merged_manifest(shards)
    structure = replace(manifest.structure, efforts=common_efforts([shard.manifest.structure for shard in shards]))
    codebooks = {} if sharded.codebooks is None else sharded.codebooks.files
    return replace(
        manifest,
        created=sharded.created,
        software=sharded.software,
        encoder=sharded.encoder,
        structure=structure,
        files={**manifest.files, **codebooks},
        version=sharded.version,
    )


def common_efforts(structures: Sequence[StructureInfo]) -> tuple[Effort, ...]:
    """Return the efforts of several structures together: the recall of each is reached by all of them.

    A search with a recall selects in every structure the least effort that reaches it, so that the structures may
    search with different settings; those given are of the first structure.

    Args:
        structures: The structures of all shards.
    """
    found: dict[float, Effort] = {}
    for recall in sorted({effort.recall_at_10 for structure in structures for effort in structure.efforts}):
        chosen = [structure.efforts[select_effort(structure.efforts, recall or None)] for structure in structures]
        reached = min(effort.recall_at_10 for effort in chosen)
        found[reached] = replace(chosen[0], recall_at_10=reached)
    return tuple(found[recall] for recall in sorted(found))


def merged_manifest(segments: Sequence[SegmentContents]) -> Manifest:
    """Return the description of segments together; the structure is that of the largest."""
    manifests = [segment.manifest for segment in segments]
    largest = max(segments, key=lambda segment: segment.n_passages)
    structure_files = [
        str(Path(segment.path, name)) for segment in segments for name in segment.manifest.structure.files
    ]
    truncated = [_n_truncated(segment) for segment in segments]
    documents = [segment.n_documents for segment in segments]
    origins = {manifest.vectors for manifest in manifests}
    return replace(
        largest.manifest,
        n_passages=sum(segment.n_passages for segment in segments),
        vectors=next(origin for origin in _ORIGINS if origin in origins),
        corpus=_merged_corpus(segments),
        structure=replace(largest.manifest.structure, files=tuple(structure_files)),
        files={name: entry for segment in segments for name, entry in segment.files.items()},
        n_truncated=None if None in truncated else sum(filter(None, truncated)),
        n_documents=None if None in documents else sum(filter(None, documents)),
    )


def _n_truncated(segment: SegmentContents) -> int | None:
    """Return how many passages were cut at the encoder's maximum length; None if that is not known."""
    n_truncated = segment.manifest.n_truncated
    return None if n_truncated and segment.deleted else n_truncated


def _merged_corpus(segments: Sequence[SegmentContents]) -> dict[str, Any]:
    """Return the origin of the passages of segments: a single one without deleted passages has its own."""
    corpora = [segment.manifest.corpus for segment in segments]
    if len(segments) == 1 and not segments[0].deleted:
        return corpora[0]
    named = (name for corpus in corpora for name in corpus["sources"].split(_SOURCES_JOINED_BY))
    sources = [name for name in dict.fromkeys(named) if name != _MORE_SOURCES]
    if len(sources) > _MAX_SOURCES or any(corpus["sources"].endswith(_MORE_SOURCES) for corpus in corpora):
        sources = [*sources[:_MAX_SOURCES], _MORE_SOURCES]
    parts = [
        [segment.manifest.corpus["sha256"], segment.deleted.entry.sha256 if segment.deleted else None]
        for segment in segments
    ]
    skipped: dict[str, int] = {}
    for corpus in corpora:
        for reason, count in corpus["skipped"].items():
            skipped[reason] = skipped.get(reason, 0) + count
    return {"sources": _SOURCES_JOINED_BY.join(sources), "sha256": fingerprint_of(parts), "skipped": skipped}
