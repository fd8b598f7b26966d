"""Description of several segments together, in the form of the manifest of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index.efforts import Effort, select_effort
from elasticdenser.index.generation import Generation
from elasticdenser.index.lexical.info import LexicalInfo
from elasticdenser.index.manifest import Manifest, Origin, StructureInfo
from elasticdenser.index.segment_contents import SegmentContents
from elasticdenser.index.sharding.manifest import ShardedManifest

_ORIGINS: tuple[Origin, ...] = ("decoded", "exact", "encoded")
"""Of several segments, the first that one of them has is said of all."""

_MAX_SOURCES = 4
"""Sources that are named; an index may get thousands of small additions."""

_SOURCES_JOINED_BY, _MORE_SOURCES = " + ", "others"

_NO_STRUCTURE = StructureInfo(factory="Flat", efforts=(Effort(rescored=0, recall_at_10=1.0),), n_sampled=0)
"""Structure of an index without passages."""


def manifest_of_generation(generation: Generation, segments: Sequence[SegmentContents]) -> Manifest:
    """Return the description of an index of some segments, or of none."""
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
            lexical=_lexical(generation.stemmer, []),
        )
    return replace(
        manifest,
        metadata=generation.metadata,
        created=generation.created,
        software=generation.software,
        encoder=generation.encoder,
        version=generation.version,
    )


def manifest_of_shards(sharded: ShardedManifest, shards: Sequence[SegmentContents]) -> Manifest:
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
        metadata={name: kind for manifest in manifests for name, kind in (manifest.metadata or {}).items()} or None,
        lexical=_lexical(manifests[0].stemmer, manifests),
    )


def _lexical(stemmer: str | None, manifests: Sequence[Manifest]) -> LexicalInfo | None:
    """Return the description of the postings of segments together."""
    if stemmer is None:
        return None
    infos = [manifest.lexical for manifest in manifests if manifest.lexical is not None]
    return LexicalInfo(
        stemmer=stemmer,
        n_terms=max((info.n_terms for info in infos), default=0),
        n_postings=sum(info.n_postings for info in infos),
        n_words=sum(info.n_words for info in infos),
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
