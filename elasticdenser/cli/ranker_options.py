"""Options of reranking that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile

RankerFolder = Annotated[
    Path | None,
    typer.Option(
        "--ranker",
        metavar="FOLDER",
        help="Ranker, as `elasticdenser train` makes it: an elastic one, which reads queries and passages together, or "
        "one of late interaction. Default: that of this package, which is of late interaction.",
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


@dataclass(frozen=True, kw_only=True)
class RerankedLevelsOptions:
    """Options of levels that rerank."""

    rerank: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N[:SUBNET][,N:SUBNET...]",
            help="Add levels that rerank the N best hits with this subnet of the ranker, then the best of them with "
            "larger ones, such as 50:w0.5-d3 or 100:w0.25-d1,30:w0.5-d3; repeatable. Without any subnet: with the one "
            "that encoded the query if late interaction has it, else with the largest. Not with --profile, which names "
            "its levels.",
            show_default=False,
        ),
    ] = None
    ranker: RankerFolder = None

    @property
    def rerankings(self) -> tuple[str, ...]:
        """Spellings of the reranking at the added levels."""
        return tuple(self.rerank or ())

    def retriever_options(self, profile: Profile | None = None) -> dict[str, Any]:
        """Return the options as `Retriever.open` takes them: the ranker if one is needed or named.

        The retriever has no reranker of its own: the levels say what is reranked.

        Args:
            profile: The levels if they are known; some of them may rerank.

        Raises:
            typer.BadParameter: Levels are both known and to be added.
            ModelError: A ranker is needed, none is named, and the package comes with none.
        """
        if profile is not None and self.rerank:
            message = "the profile says what is reranked: leave one of the two out, or measure another profile"
            raise typer.BadParameter(message, param_hint="--rerank")
        is_needed = bool(self.rerank) or any(level.parts.stages for level in (profile.levels if profile else ()))
        if self.ranker is None and not is_needed:
            return {}
        from elasticdenser.models.shipped_ranker import shipped_ranker
        from elasticdenser.retrieval.reranking import NO_RERANKER

        return {"reranker": NO_RERANKER, "ranker": self.ranker or shipped_ranker()}
