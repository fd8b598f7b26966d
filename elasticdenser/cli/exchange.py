"""`import` and `export`: indexes of pyserini and bare FAISS files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, progress_bars


@explained
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A folder of pyserini (index + docid), or a FAISS file.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the index to make.", show_default=False)],
    ids: Annotated[
        Path | None, typer.Option(help="For a bare FAISS file: the document ids, one a line, in its order.")
    ] = None,
    encoder: options.EncoderName = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="Corpus to take the texts from; also checks that this encoder made the vectors."),
    ] = None,
    factory: Annotated[str, typer.Option(help="Search structure: auto or any FAISS factory string.")] = "auto",
    query_prompt: Annotated[str | None, typer.Option(help="Put before each query. Default: the model's.")] = None,
    passage_prompt: Annotated[
        str | None, typer.Option(help="Was put before each passage. Default: the model's.")
    ] = None,
    offline: options.Offline = False,
) -> None:
    """Make an index from one that other tools wrote, without encoding."""
    from elasticdenser.datasets import open_corpus
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.index.exchange import import_index
    from elasticdenser.models.locate import DEFAULT_MODEL

    passage_encoder = PassageEncoder.from_pretrained(
        encoder or DEFAULT_MODEL, download=not offline, query_prompt=query_prompt, passage_prompt=passage_prompt
    )
    with progress_bars() as progress:
        made = import_index(
            source,
            output,
            passage_encoder,
            ids=ids,
            corpus=open_corpus(corpus) if corpus else None,
            factory=factory,
            progress=progress,
        )
    manifest = made.manifest
    note(f"{output}: {len(made):,} passages, vectors {manifest.vectors}, structure {manifest.structure.factory}")
    if manifest.vectors == "decoded":
        note("the source compresses its vectors with loss, so scores are those of the decoded vectors")
    note(f'now try:  elasticdenser search {output} "your question"')


@explained
def export(
    index: options.IndexPath,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.", show_default=False)],
    factory: Annotated[
        str, typer.Option(help="FAISS factory string of the exported index; Flat keeps the vectors exact.")
    ] = "Flat",
) -> None:
    """Write an index as pyserini's FaissSearcher reads it: a folder with `index` and `docid`."""
    from elasticdenser.index import PassageIndex
    from elasticdenser.index.exchange import export_index

    with progress_bars() as progress:
        export_index(PassageIndex.open(index), output, factory=factory, progress=progress)
    note(f"{output}: read it with pyserini.search.faiss.FaissSearcher({str(output)!r}, query_encoder)")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(
        "import",
        epilog=options.examples(
            "import pyserini-index/ -o indexes/mine --corpus passages.jsonl",
            "import vectors.faiss --ids ids.txt -o indexes/mine",
        ),
    )(import_)
    app.command(epilog=options.examples("export indexes/mine -o exported/"))(export)
