"""Options of searches: what is searched, and quality against speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever
    from elasticdenser.subnet import Subnet

Hits = Annotated[int, typer.Option("-k", min=1, help="Number of hits for each query.")]
Hybrid = Annotated[
    bool,
    typer.Option("--hybrid", help="Search by words too, in an index that was built with --hybrid."),
]
WordWeight = Annotated[
    float | None,
    typer.Option(
        metavar="WEIGHT",
        help="With --hybrid: weight of words from 0, meaning alone, to 1, words alone. `tune` finds the best for "
        "your judgements. Default: 0.2.",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options that trade the quality of a search for its speed."""

    subnet: Annotated[
        str | None,
        typer.Option(
            metavar="SUBNET",
            help="Subnet of the query encoder, such as w0.5-d3 or level0; all: every subnet in turn. "
            "Default: the full encoder.",
        ),
    ] = None
    escalation: Annotated[
        str | None,
        typer.Option(
            metavar="MARGIN:SUBNET",
            help="Encode and search again by a larger subnet if the first hit scores less than the margin above the "
            "tenth, such as 0.04:w1-d6; with --subnet, and without --hybrid.",
            show_default=False,
        ),
    ] = None
    exact: Annotated[
        bool, typer.Option("--exact", help="Scan all vectors instead of using the index's search structure.")
    ] = False
    recall: Annotated[
        float | None,
        typer.Option(
            help="Search with the smallest effort that reaches this recall@10 (`info` lists the efforts). "
            "Default: the greatest effort.",
            show_default=False,
        ),
    ] = None
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Search only passages whose metadata meets a condition, such as \"section = 'ops' and date >= "
            "'2026-01-01'\" (`info` lists the fields).",
            show_default=False,
        ),
    ] = None
    by_document: Annotated[
        bool,
        typer.Option(
            "--by-document", help="Rank documents by their best chunk, in an index that was built with --chunk."
        ),
    ] = False
    hybrid: Hybrid = False
    word_weight: WordWeight = None

    def search_options(self) -> dict[str, Any]:
        """Return the other options as `Retriever.search` takes them.

        Raises:
            typer.BadParameter: A weight of words is given for a search without words, or an escalation for one with.
        """
        if self.escalation is not None and (self.hybrid or self.subnet is None):
            got = "--hybrid" if self.hybrid else "no --subnet"
            message = f"got {got}; expected a small subnet and no --hybrid: add --subnet level0, leave --hybrid out"
            raise typer.BadParameter(message, param_hint="--escalation")
        return {
            "escalation": self.escalation,
            "exact": self.exact,
            "recall": self.recall,
            "filter": self.filter,
            "by_document": self.by_document,
            "hybrid": hybrid_of(self.hybrid, self.word_weight),
        }

    def subnets(self, retriever: Retriever) -> list[Subnet]:
        """Return the subnets that `--subnet` names.

        Raises:
            QueryError: The encoder has no such subnet.
        """
        encoder = retriever.encoder
        if self.subnet == "all":
            return encoder.subnets
        try:
            return [encoder.resolve_subnet(self.subnet)]
        except QueryError as error:
            raise QueryError(f"{error}; or give --subnet all") from None


def hybrid_of(hybrid: bool, word_weight: float | None) -> bool | float:
    """Return `--hybrid` and `--word-weight` as `Retriever` takes them together.

    Raises:
        typer.BadParameter: A weight is out of range, or given for a search without words.
    """
    if word_weight is not None and not hybrid:
        raise typer.BadParameter(
            "got a weight of words, expected --hybrid with it: without, words do not count", param_hint="--word-weight"
        )
    if word_weight is not None and not 0 <= word_weight <= 1:
        message = f"got {word_weight:g}; expected a weight from 0, meaning alone, to 1, words alone, such as 0.2"
        raise typer.BadParameter(message, param_hint="--word-weight")
    return hybrid if word_weight is None else word_weight
