"""Options of an index: its folder, its search structure, and what computes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli.options.files import output_folder

if TYPE_CHECKING:
    from elasticdenser.index.contents import IndexContents
    from elasticdenser.progress import Progress

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of an index.", show_default=False)]
NewIndexPath = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder of the index to build.", show_default=False, callback=output_folder),
]
Factory = Annotated[str, typer.Option(help="Search structure: auto (by number of passages) or a FAISS factory string.")]
Stemmer = Annotated[
    str,
    typer.Option(
        help="With --hybrid: how endings of words are cut off: porter (English), another of Snowball's, or none."
    ),
]
NoCompact = Annotated[
    bool, typer.Option("--no-compact", help="Do not merge segments, even if there are many or much is deleted.")
]
Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Build an index of so many shards, each of a range of the corpus; they are built one after another, or "
        "side by side with --ray.",
        show_default=False,
    ),
]
BuildingRay = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="With --shards: build them on the Ray cluster at this address, each on --workers CPUs (default: one). "
        "auto finds a running one, local starts one on this machine for the build.",
        show_default=False,
    ),
]
EncodingWorkers = Annotated[
    int | None, typer.Option("--workers", min=1, help="CPUs that encode passages. Default: all usable CPUs.")
]


def compacted(index: Path, progress: Progress, *, skip: bool) -> IndexContents:
    """Merge the segments of an index if that is needed, unless it is to be skipped, and return its contents."""
    from elasticdenser.index.compaction import compact_if_needed
    from elasticdenser.index.contents import IndexContents

    if not skip:
        compact_if_needed(index, progress)
    return IndexContents.read(index)
