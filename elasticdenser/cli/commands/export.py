"""`elasticdenser export`: write an index as files of pyserini."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars


@command
def export(
    index: options.IndexPath,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder to write.", show_default=False, callback=options.output_folder),
    ],
    factory: Annotated[
        str, typer.Option(help="FAISS factory string of the exported index; Flat stores the vectors exactly.")
    ] = "Flat",
) -> None:
    """Write an index in the layout of pyserini's FaissSearcher: a folder with `index` and `docid`."""
    from elasticdenser.index import PassageIndex
    from elasticdenser.index.exchange import export_index

    with progress_bars() as progress:
        export_index(PassageIndex.open(index), output, factory=factory, progress=progress)
    note(f"{output}: read it with pyserini.search.faiss.FaissSearcher({str(output)!r}, query_encoder)")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("export indexes/mine -o exported/"))(export)
