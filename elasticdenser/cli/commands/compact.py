"""`elasticdenser compact`: merge the segments of an index."""

from __future__ import annotations

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars


@command
def compact(index: options.IndexPath, factory: options.Factory = "auto") -> None:
    """Merge all segments of an index into one, without the deleted passages; nothing is encoded.

    `add` and `delete` merge segments themselves where that is worth it. The index can be searched and changed
    meanwhile.
    """
    from elasticdenser.index import compaction
    from elasticdenser.index.contents import IndexContents

    with progress_bars() as progress:
        compaction.compact(index, factory=factory, progress=progress)
    contents = IndexContents.read(index)
    structure = contents.manifest.structure
    note(
        f"{index}: {contents.manifest.n_passages:,} passages in one segment, structure {structure.factory}, generation "
        f"{contents.number}"
    )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("compact indexes/mine", "compact indexes/mine --factory HNSW32"))(compact)
