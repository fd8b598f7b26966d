"""`info`, `verify` and `rebuild`: what an index is, whether it is whole, and another structure for it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table, progress_bars


@explained
def info(
    index: options.IndexPath,
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as JSON.")] = False,
) -> None:
    """Say what an index holds and what made it."""
    from elasticdenser.index.manifest import Manifest

    manifest = Manifest.read(index)
    if as_json:
        typer.echo(json.dumps(asdict(manifest), indent=2))
        return
    structure, encoder = manifest.structure, manifest.encoder
    size = sum(entry.bytes for entry in manifest.files.values())
    efforts = [f"{effort.recall_at_10:.4f} with {effort}" for effort in reversed(structure.efforts)]
    facts = {
        "passages": f"{manifest.n_passages:,}",
        "vectors": f"{manifest.dim} dimensions, float32, {manifest.vectors}",
        "texts": "kept" if manifest.has_texts else "not kept",
        "on disk": f"{size / 2**20:,.1f} MiB",
        "corpus": manifest.corpus["sources"],
        "skipped": ", ".join(f"{count:,} {reason}" for reason, count in manifest.corpus["skipped"].items()) or "none",
        "encoder": f"{encoder.name} ({encoder.dtype})",
        "weights": f"SHA-256 {encoder.weights_sha256}",
        "settings": ", ".join(f"{key}={value!r}" for key, value in asdict(encoder.settings).items()),
        "structure": structure.factory,
        "recall@10": f"against exact search, on {structure.n_sampled} sampled queries: " + "; ".join(efforts),
        "made": f"{manifest.created} by elasticdenser {manifest.software}, format {manifest.version}",
    }
    print_table(str(index), ["what", "is"], [[what, value] for what, value in facts.items()])


@explained
def verify(index: options.IndexPath) -> None:
    """Read every file of an index and compare it with its checksum; then open it."""
    from elasticdenser.index import PassageIndex

    opened = PassageIndex.open(index, check="all")
    note(f"{index} is whole: {len(opened):,} passages, {len(opened.manifest.files)} files")


@explained
def rebuild(
    index: options.IndexPath,
    factory: Annotated[str, typer.Option(help="auto (by size) or any FAISS factory string.")] = "auto",
) -> None:
    """Derive the search structure of an index anew, without encoding again."""
    from elasticdenser.index import rebuild as rebuild_structure

    with progress_bars() as progress:
        opened = rebuild_structure(index, factory, progress)
    structure = opened.manifest.structure
    note(f"{index}: structure {structure.factory}, recall@10 {structure.recall_at_10:.4f}")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    commands: list[tuple[Any, str]] = [
        (info, options.examples("info indexes/mine", "info indexes/mine --json")),
        (verify, options.examples("verify indexes/mine")),
        (rebuild, options.examples("rebuild indexes/mine", "rebuild indexes/mine --factory IVF1024,Flat")),
    ]
    for command, epilog in commands:
        app.command(epilog=epilog)(command)
