"""`elasticdenser rebuild`: give an index another search structure."""

from __future__ import annotations

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars


@command
def rebuild(index: options.IndexPath, factory: options.Factory = "auto") -> None:
    """Build the search structure of an index again from its vectors, without encoding."""
    from elasticdenser.index import rebuild as rebuild_structure

    with progress_bars() as progress:
        opened = rebuild_structure(index, factory, progress)
    structure = opened.manifest.structure
    note(f"{index}: structure {structure.factory}, recall@10 {structure.recall_at_10:.4f}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    epilog = options.examples("rebuild indexes/mine", "rebuild indexes/mine --factory IVF1024,Flat")
    app.command(epilog=epilog)(rebuild)
