"""`elasticdenser snapshot`: keep the present state of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note


@command
def snapshot(
    index: options.IndexPath,
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="Folder to create.", show_default=False, callback=options.output_folder),
    ],
) -> None:
    """Make a folder that is the present generation of an index, and does not change with it.

    The files are linked, which takes no space; on another file system they are copied.
    """
    from elasticdenser.index.contents import IndexContents
    from elasticdenser.index.snapshots import snapshot as make_snapshot

    make_snapshot(index, path)
    contents = IndexContents.read(path)
    note(f"{path}: {contents.manifest.n_passages:,} passages, generation {contents.number} of {index}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("snapshot indexes/mine backups/2026-11-26"))(snapshot)
