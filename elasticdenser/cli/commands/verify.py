"""`elasticdenser verify`: check that an index is complete and undamaged."""

from __future__ import annotations

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note


@command
def verify(index: options.IndexPath) -> None:
    """Check an index: compare every file with its checksum, and open the index."""
    from elasticdenser.index import PassageIndex

    opened = PassageIndex.open(index, check="all")
    n_segments = len(opened.contents.segments)
    plural = "" if n_segments == 1 else "s"
    segments = f", {n_segments} segment{plural}, generation {opened.generation}" if opened.generation else ""
    if opened.contents.sharded is not None:
        segments = f", {n_segments} shard{plural}"
    note(f"{index} is undamaged: {len(opened):,} passages, {len(opened.manifest.files)} files{segments}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("verify indexes/mine"))(verify)
