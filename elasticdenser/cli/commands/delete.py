"""`elasticdenser delete`: delete passages from an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, progress_bars

_MAX_SHOWN = 5
"""Unknown ids that are named."""

_EXAMPLES = options.examples(
    "delete indexes/mine d17 d18",
    "delete indexes/mine --ids gone.txt",
    "delete indexes/mine --ids gone.txt --dry-run",
    "delete indexes/mine --filter \"date < '2020-01-01'\" --dry-run",
)


@command
def delete(
    index: options.IndexPath,
    doc_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Ids of documents.", show_default=False)
    ] = None,
    *,
    ids: Annotated[
        Path | None, typer.Option("--ids", help="File with one id per line; `-` is standard input.", show_default=False)
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Instead of ids: delete the documents whose metadata meets a condition, such as \"section = 'old'\" "
            "(`info` lists the fields).",
            show_default=False,
        ),
    ] = None,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Do not fail if ids are not in the index.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and change nothing.")] = False,
    no_compact: options.NoCompact = False,
) -> None:
    """Delete documents from an index, with all their chunks, by their ids or by their metadata.

    Ids that are not in the index are reported, and the exit code is then 1; all others are deleted.
    """
    from elasticdenser.index.changes import delete_passages
    from elasticdenser.index.contents import IndexContents

    chosen = [*(doc_ids or ()), *(options.read_ids(ids) if ids is not None else ())]
    if not chosen and filter is None:
        raise typer.BadParameter("give the ids to delete, or a file of them (--ids), or a condition (--filter)")
    if chosen and filter is not None:
        raise typer.BadParameter("got ids and --filter, expected one of the two: delete by the one, then by the other")
    change = delete_passages(index, chosen, filter=filter, missing_ok=True, dry_run=dry_run)
    if dry_run:
        n_left, number = IndexContents.read(index).manifest.n_passages, change.generation
    else:
        with progress_bars() as progress:
            contents = options.compacted(index, progress, skip=no_compact)
        n_left, number = contents.manifest.n_passages, contents.number
    done = "would delete" if dry_run else "deleted"
    unknown = ", ".join([*change.unknown[:_MAX_SHOWN], *(["..."] if len(change.unknown) > _MAX_SHOWN else [])])
    named = f", {len(change.unknown):,} unknown: {unknown}" if change.unknown else ""
    note(f"{index}: {done} {change.deleted:,}{named}; it holds {n_left:,} passages, generation {number}")
    if change.unknown and not missing_ok:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(delete)
