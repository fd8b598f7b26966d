"""`elasticdenser tune`: choose the weight of words in hybrid search on your own judgements."""

from __future__ import annotations

from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, print_json, print_table, progress_bars

_EXAMPLES = options.examples(
    "tune indexes/nq beir/nq/ --split train",
    "tune indexes/mine judged/ --measure RR@10 --subnet w0.5-d3",
    "tune indexes/wiki triviaqa/ --measure AnswerMatch@20",
)

_ENDS = {0.0: "meaning alone", 1.0: "words alone"}


@command
def tune(
    index: options.IndexPath,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Queries with judgements, or for AnswerMatch with answers: a BEIR folder or an ir_datasets id.",
            show_default=False,
        ),
    ],
    *,
    measure: Annotated[
        str, typer.Option(help="Measure to raise, such as nDCG@10, RR@10 or AnswerMatch@20.")
    ] = "nDCG@10",
    split: options.Split = None,
    subnet: Annotated[
        str | None,
        typer.Option(
            help="Subnet of the query encoder, such as w0.5-d3. Default: the full encoder.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    encoding: options.EncoderOptions,
    download: options.Download = False,
) -> None:
    """Choose the weight of words in hybrid search (`--word-weight`) on your own judgements."""
    from elasticdenser.datasets import load_answers, load_qrels, load_queries
    from elasticdenser.datasets.qrels import check_judged
    from elasticdenser.evaluation import QuerySet, parse_measures
    from elasticdenser.evaluation.word_weight import choose_word_weight

    parsed = parse_measures([measure])[0]
    by_answers = parsed.NAME == "AnswerMatch"
    if not by_answers:
        check_judged(dataset, split=split)
    retriever = encoding.open_retriever(index)
    query_set = QuerySet(
        name="queries",
        queries={query.query_id: query.text for query in load_queries(dataset, split=split, download=download)},
        qrels=() if by_answers else load_qrels(dataset, split=split, download=download),
        answers=load_answers(dataset, split=split, download=download) if by_answers else {},
        text_of=retriever.index.text,
        measures=[measure],
        k=parsed.params.get("cutoff") or 1000,
    )
    with progress_bars() as progress:
        choice = choose_word_weight(retriever, query_set, subnet=subnet, progress=progress)
    if as_json:
        means = [{"word_weight": weight, "mean": mean} for weight, mean in choice.means.items()]
        print_json(
            {
                "measure": choice.measure,
                "queries": choice.n_queries,
                "word_weight": choice.weight,
                "cross_validated": choice.cross_validated,
                "means": means,
            }
        )
        return
    rows = [
        [f"{weight:.2f}", f"{mean:.4f}", _ENDS.get(weight, ""), "best" if weight == choice.weight else ""]
        for weight, mean in choice.means.items()
    ]
    print_table(f"{choice.measure}, {choice.n_queries:,} queries", ["word weight", "mean", "", ""], rows, numeric=2)
    note(
        f"for new queries expect {choice.cross_validated:.4f}: each half measured at the weight that is best for the "
        "other half"
    )
    note(f'now try:  elasticdenser search {index} "your question" --hybrid --word-weight {choice.weight:g}')


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(tune)
