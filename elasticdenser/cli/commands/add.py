"""`elasticdenser add`: add passages to an index, or replace some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, progress_bars

_EXAMPLES = options.examples(
    "add indexes/mine new.jsonl",
    "add indexes/mine passages.jsonl               (encodes only what has changed)",
    "add indexes/mine new.jsonl more.tsv --only-new",
    "add indexes/docs docs/ --prune                (as docs/ is now; --dry-run only tells)",
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
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete the documents of the index that are no longer in CORPUS, which is the folder that the index "
            "was made of: files that were removed, and sections that were.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
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

    folder = Path(corpus[0]) if prune else None
    if folder is not None and (len(corpus) > 1 or not folder.is_dir()):
        raise typer.BadParameter(f"got {', '.join(corpus)}; expected one folder that exists", param_hint="--prune")
    if prune and reading.skip_bad:
        raise typer.BadParameter(
            "what stands in bad lines would be deleted: leave out --skip-bad", param_hint="--prune"
        )
    contents = IndexContents.read(index)
    passage_encoder = encoder_of(contents, encoder, device=device, download=not offline)
    with resumable(), progress_bars() as progress:
        change = add_passages(
            index,
            reading.open(corpus),
            passage_encoder,
            only_new=only_new,
            prune=folder,
            dry_run=dry_run,
            workers=workers,
            progress=progress,
        )
        changed = contents if dry_run else options.compacted(index, progress, skip=no_compact)
    deleted = f", deleted {change.deleted:,}" if prune else ""
    counts = f"added {change.added:,}, replaced {change.replaced:,}, unchanged {change.unchanged:,}{deleted}"
    note(
        f"{index}: {'would have ' if dry_run else ''}{counts}; it holds "
        f"{changed.manifest.n_passages:,} passages, generation {changed.number}"
    )
    for reason, count in sorted(change.skipped.items()):
        note(f"skipped {count:,}: {reason}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(add)
