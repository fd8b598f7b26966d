"""`elasticdenser snapshot`: keep the present state of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, progress_bars


@command
def snapshot(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="Folder or URL of an index.", show_default=False)],
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE", help="Folder to create, or a URL that fsspec knows (s3://...).", show_default=False
        ),
    ],
) -> None:
    """Make a copy that is the present generation of an index, and does not change with it.

    The files are linked, which takes no space; on another file system they are copied, as they are to and from URLs.
    """
    from elasticdenser.index.contents import IndexContents
    from elasticdenser.index.remote import download, is_url, upload
    from elasticdenser.index.snapshots import snapshot as make_snapshot

    if is_url(index) and is_url(place):
        raise typer.BadParameter("got two URLs, expected a folder on this machine as one of them")
    if is_url(index) or is_url(place):
        with resumable(), progress_bars() as progress:
            if is_url(place):
                contents = upload(Path(index), place, progress)
            else:
                contents = download(index, options.new_folder(place), progress)
    else:
        make_snapshot(Path(index), options.new_folder(place))
        contents = IndexContents.read(Path(place))
    note(f"{place}: {contents.manifest.n_passages:,} passages, generation {contents.number} of {index}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        epilog=options.examples("snapshot indexes/mine backups/2026-11-26", "snapshot indexes/mine s3://bucket/mine")
    )(snapshot)
