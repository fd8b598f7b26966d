"""`elasticdenser info`: describe an index."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import print_json, print_table

if TYPE_CHECKING:
    from elasticdenser.index.contents import IndexContents
    from elasticdenser.index.manifest import Manifest
    from elasticdenser.index.segment_contents import SegmentContents


@command
def info(
    index: options.IndexPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest and the segments as JSON.")] = False,
) -> None:
    """Show what an index holds and how it was built."""
    from elasticdenser.index.contents import IndexContents

    contents = IndexContents.read(index)
    segments = [_segment(segment) for segment in contents.segments]
    if as_json:
        state = {"generation": contents.number, "segments": segments, "shards": _shards(contents)}
        print_json(asdict(contents.manifest) | state, indent=2)
        return
    rows = [[name, value] for name, value in _properties(contents).items()]
    print_table(str(index), ["property", "value"], rows)
    if not contents.is_one_folder:
        what = "segment" if contents.sharded is None else "shard"
        columns = [what, "passages", "deleted", "structure", "created"]
        print_table(f"{what}s", columns, [[str(value) for value in row.values()] for row in segments])


def _segment(segment: SegmentContents) -> dict[str, Any]:
    return {
        "name": segment.name,
        "n_passages": segment.n_passages,
        "n_deleted": segment.manifest.n_passages - segment.n_passages,
        "structure": segment.manifest.structure.factory,
        "created": segment.manifest.created,
    }


def _shards(contents: IndexContents) -> dict[str, Any] | None:
    """Return the number of shards and what they share; None if the index is not sharded."""
    if contents.sharded is None:
        return None
    codebooks = contents.sharded.codebooks
    return {"n": len(contents.segments), "codebooks": codebooks and asdict(codebooks)}


def _properties(contents: IndexContents) -> dict[str, str]:
    manifest = contents.manifest
    structure, encoder = manifest.structure, manifest.encoder
    n_bytes = sum(entry.bytes for entry in manifest.files.values())
    efforts = [f"{effort.recall_at_10:.4f} with {effort}" for effort in reversed(structure.efforts)]
    n_deleted = sum(segment.manifest.n_passages - segment.n_passages for segment in contents.segments)
    deleted = f" (and {n_deleted:,} deleted, which `elasticdenser compact` removes)" if n_deleted else ""
    return {
        "passages": f"{manifest.n_passages:,}{deleted}",
        **_chunks(manifest),
        "truncated": _truncated(manifest),
        "vectors": f"{manifest.dim} dimensions, float32, {manifest.vectors}",
        "texts": "stored" if manifest.has_texts else "not stored",
        "metadata": ", ".join(f"{name} ({kind})" for name, kind in (manifest.metadata or {}).items()) or "none",
        "words": _words(contents),
        "on disk": f"{n_bytes / 2**20:,.1f} MiB",
        "corpus": manifest.corpus["sources"],
        "skipped": ", ".join(f"{count:,} {reason}" for reason, count in manifest.corpus["skipped"].items()) or "none",
        "encoder": f"{encoder.name} ({encoder.dtype})",
        "weights": f"SHA-256 {encoder.weights_sha256}",
        "settings": ", ".join(f"{key}={value!r}" for key, value in asdict(encoder.settings).items()),
        "similarity": "cosine" if encoder.settings.normalize else "dot",
        **_sharding(contents),
        "structure": structure.factory,
        "recall@10": f"against exact search, on {structure.n_sampled} sampled queries: " + "; ".join(efforts),
        **({"generation": f"{contents.number:,}"} if contents.number else {}),
        "written": f"{manifest.created} by elasticdenser {manifest.software}, format {manifest.version}",
    }


def _chunks(manifest: Manifest) -> dict[str, str]:
    """Return the row on chunks, if documents were cut into them."""
    if manifest.chunking is None:
        return {}
    repeated = f", repeating up to {manifest.chunking.overlap}" if manifest.chunking.overlap else ""
    return {"chunks": f"of {manifest.n_documents:,} documents, up to {manifest.chunking.tokens} tokens each{repeated}"}


def _sharding(contents: IndexContents) -> dict[str, str]:
    """Return the row on shards, if there are any."""
    shards = _shards(contents)
    if shards is None:
        return {}
    codebooks = shards["codebooks"]
    trained = f", codebooks trained on {codebooks['n_sampled']:,} vectors of all" if codebooks else ""
    return {"shards": f"{shards['n']}{trained}"}


def _words(contents: IndexContents) -> str:
    lexical = contents.manifest.lexical
    if lexical is None:
        return "not indexed"
    at_least = "at least " if len(contents.segments) > 1 else ""  # which words segments share is not known
    n_terms = f"{at_least}{lexical.n_terms:,} different ones"
    return f"{n_terms}, stemmer {lexical.stemmer}, in {lexical.n_postings:,} postings"


def _truncated(manifest: Manifest) -> str:
    if manifest.n_truncated is None:
        return "not counted"
    if not manifest.n_truncated:
        return "none"
    share = manifest.n_truncated / max(manifest.n_passages, 1)
    max_length = manifest.encoder.settings.max_length
    return f"{manifest.n_truncated:,} passages ({share:.1%}) are longer than {max_length} tokens, and were cut there"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("info indexes/mine", "info indexes/mine --json"))(info)
