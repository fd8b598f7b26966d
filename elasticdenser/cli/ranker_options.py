"""Options of reranking that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

RankerFolder = Annotated[
    Path | None,
    typer.Option(
        "--ranker",
        metavar="FOLDER",
        help="Ranker that reads queries and passages together, as `elasticdenser train` makes it. Default: the one "
        "that comes with this package.",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class RerankingOptions:
    """Options that choose the second stage of a search."""

    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="N[:SUBNET][,N:SUBNET...]",
            help="Rerank the N best hits with this subnet of the ranker, then the best of them with larger ones, such "
            "as 50, 50:w0.5-d3 or 100:w0.25-d1,30:w0.5-d3; +W at the end adds W times the score of the search. "
            "mmr:TRADE_OFF: avoid similar hits instead.",
            show_default=False,
        ),
    ] = None
    ranker: RankerFolder = None

    def retriever_options(self) -> dict[str, Any]:
        """Return the options as `Retriever.open` takes them."""
        return {"reranker": self.rerank, "ranker": self.ranker}
