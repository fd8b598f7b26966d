"""`elasticdenser token-vectors`: encode the tokens of an index's passages, for reranking by late interaction."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, progress_bars
from elasticdenser.cli.ranker_options import RankerFolder
from elasticdenser.errors import QueryError

_EXAMPLES = options.examples(
    "token-vectors indexes/mine",
    "token-vectors indexes/mine --workers 8 --gb 20",
    "token-vectors indexes/mine --ranker models/late-interaction --precision fp32",
)


@command
def token_vectors(
    index: options.IndexPath,
    ranker: RankerFolder = None,
    gigabytes: Annotated[
        float, typer.Option("--gb", metavar="GB", help="Most gigabytes on disk; the other passages are left out.")
    ] = 100.0,
    workers: options.EncodingWorkers = None,
    device: options.Device = "auto",
    precision: Annotated[
        str, typer.Option(help="Arithmetic of the ranker's encoder: auto, or as for searches, which find no others.")
    ] = "auto",
) -> None:
    """Encode the tokens of all passages of an index, so that reranking by late interaction takes milliseconds.

    They are stored beside the index, in INDEX.token-vectors; searches with --rerank find them there. After passages
    were added, the same command encodes theirs alone; after an interruption, it goes on.
    """
    from elasticdenser.index import PassageIndex
    from elasticdenser.retrieval.token_vectors import size_text, store_token_vectors

    if not 0 < gigabytes < math.inf:
        raise QueryError(f"got --gb {gigabytes:g}, expected gigabytes above 0, such as 20")
    dtype = options.dtype_of(precision)
    opened, max_bytes = PassageIndex.open(index), int(min(gigabytes, 1e9) * 1e9)
    with resumable(), progress_bars() as progress:
        stored = store_token_vectors(
            opened,
            ranker,
            dtype=dtype,
            device=device,
            max_bytes=max_bytes,
            workers=workers,
            progress=progress,
            log=note,
        )
    left_out = f", {stored.n_refused:,} did not fit into --gb {gigabytes:g}" if stored.n_refused else ""
    note(
        f"{stored.folder}: {stored.n_computed:,} passages encoded, {stored.n_found:,} were there{left_out}; "
        f"{size_text(stored.n_bytes)}"
    )
    note(f'now try:  elasticdenser search {index} "your question" --rerank 50')


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(token_vectors)
