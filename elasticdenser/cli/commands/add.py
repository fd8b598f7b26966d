"""`elasticdenser add`: add passages to an index, or replace some."""

from __future__ import annotations

from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, progress_bars

_EXAMPLES = options.examples(
    "add indexes/mine new.jsonl",
    "add indexes/mine passages.jsonl               (encodes only what has changed)",
    "add indexes/mine new.jsonl more.tsv --only-new",
    "add indexes/articles articles.csv --id doi --text abstract+body --title headline",
)


@command
def add(
    index: options.IndexPath,
    corpus: Annotated[
        list[str],
        typer.Argument(metavar="CORPUS...", help="Passages, as `index` reads them.", show_default=False),
    ],
    *,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Leave passages alone whose ids are in the index.")
    ] = False,
    reading: options.CorpusOptions,
    encoder: options.IndexEncoder = None,
    workers: options.EncodingWorkers = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    no_compact: options.NoCompact = False,
) -> None:
    """Add passages to an index; those whose ids it has are replaced, unless text and metadata are the same.

    The new passages are found once all are encoded, all at once. Documents are cut as those of the index were, and
    keep the metadata fields that it has; --metadata names further ones.
    """
    from elasticdenser.index.changes import add_passages, encoder_of
    from elasticdenser.index.contents import IndexContents

    contents = IndexContents.read(index)
    passage_encoder = encoder_of(contents, encoder, device=device, download=not offline)
    with resumable(), progress_bars() as progress:
        change = add_passages(
            index, reading.open(corpus), passage_encoder, only_new=only_new, workers=workers, progress=progress
        )
        changed = options.compacted(index, progress, skip=no_compact)
    note(
        f"{index}: added {change.added:,}, replaced {change.replaced:,}, unchanged {change.unchanged:,}; it holds "
        f"{changed.manifest.n_passages:,} passages, generation {changed.number}"
    )
    for reason, count in sorted(change.skipped.items()):
        note(f"skipped {count:,}: {reason}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(add)
