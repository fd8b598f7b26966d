"""`elasticdenser rebuild`: give an index another search structure, or search by words."""

from __future__ import annotations

from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars


@command
def rebuild(
    index: options.IndexPath,
    *,
    factory: Annotated[
        str | None,
        typer.Option(
            help="Search structure: auto (by number of passages) or a FAISS factory string. Default: auto; with "
            "--hybrid or --no-hybrid alone, the structure stays as it is.",
            show_default=False,
        ),
    ] = None,
    hybrid: Annotated[
        bool | None,
        typer.Option(
            "--hybrid/--no-hybrid",
            help="Index the words of the passages again, for `search --hybrid`, or remove that index. Default: keep "
            "what there is.",
            show_default=False,
        ),
    ] = None,
    stemmer: options.Stemmer = "porter",
) -> None:
    """Build the search structure of an index again from its vectors, or the index of its words, without encoding."""
    from elasticdenser.index import rebuild as rebuild_derived

    with progress_bars() as progress:
        opened = rebuild_derived(index, factory, progress, hybrid=hybrid, stemmer=stemmer)
    structure, lexical = opened.manifest.structure, opened.manifest.lexical
    words = "" if lexical is None else f", {lexical.n_terms:,} different words"
    note(f"{index}: structure {structure.factory}, recall@10 {structure.recall_at_10:.4f}{words}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    epilog = options.examples(
        "rebuild indexes/mine",
        "rebuild indexes/mine --factory IVF1024,Flat",
        "rebuild indexes/mine --hybrid    (search by words too)",
    )
    app.command(epilog=epilog)(rebuild)
