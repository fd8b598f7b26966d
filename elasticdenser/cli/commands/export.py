"""`elasticdenser export`: write an index as files of pyserini, or into a collection of Qdrant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars

_EXAMPLES = options.examples(
    "export indexes/mine -o exported/",
    "export indexes/mine --to qdrant --url http://localhost:6333 --collection mine",
    "export indexes/mine --to qdrant --path qdrant/ --collection mine        (Qdrant's local mode)",
)


@command
def export(
    index: options.IndexPath,
    *,
    to: Annotated[
        Literal["pyserini", "qdrant"], typer.Option(help="pyserini: files in a folder; qdrant: a collection of Qdrant.")
    ] = "pyserini",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="pyserini: folder to write.", show_default=False, callback=options.output_folder
        ),
    ] = None,
    factory: Annotated[
        str,
        typer.Option(help="pyserini: FAISS factory string of the exported index; Flat stores the vectors exactly."),
    ] = "Flat",
    url: Annotated[
        str | None, typer.Option(help="qdrant: URL of a server, such as http://localhost:6333.", show_default=False)
    ] = None,
    path: Annotated[
        Path | None, typer.Option(help="qdrant: folder of its local mode, without a server.", show_default=False)
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="qdrant: name of the collection; it is created.", show_default=False)
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="qdrant: file with the API key of the server.", show_default=False)
    ] = None,
) -> None:
    """Write an index for pyserini's FaissSearcher, or into a collection of Qdrant.

    An export to Qdrant that was interrupted can be run again.
    """
    if to == "qdrant":
        if collection is None or (url is None) == (path is None):
            raise typer.BadParameter("--to qdrant needs --collection NAME, and either --url URL or --path FOLDER")
        key = None if api_key_file is None else options.read_api_key(api_key_file)
        _to_qdrant(index, collection, url, path, key)
    elif output is None:
        raise typer.BadParameter("--to pyserini needs -o FOLDER")
    else:
        _to_pyserini(index, output, factory)


def _to_pyserini(index: Path, output: Path, factory: str) -> None:
    from elasticdenser.index import PassageIndex
    from elasticdenser.index.exchange import export_index

    with progress_bars() as progress:
        export_index(PassageIndex.open(index), output, factory=factory, progress=progress)
    note(f"{output}: read it with pyserini.search.faiss.FaissSearcher({str(output)!r}, query_encoder)")


def _to_qdrant(index: Path, collection: str, url: str | None, path: Path | None, api_key: str | None) -> None:
    from elasticdenser.index import PassageIndex
    from elasticdenser.index.qdrant import connect, export_to_qdrant

    opened = PassageIndex.open(index)
    client = connect(url=url, path=None if path is None else str(path), api_key=api_key)
    try:
        with progress_bars() as progress:
            export_to_qdrant(opened, client, collection, progress=progress)
    finally:
        client.close()
    note(f"{url or path}: the collection {collection!r} has {len(opened):,} points")
    note("now search it with elastic queries: elasticdenser.retrieval.qdrant.QdrantRetriever")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(export)
