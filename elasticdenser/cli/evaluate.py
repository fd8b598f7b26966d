"""`elasticdenser evaluate`: measures of a run, in the grammar of ir_measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table

_EXAMPLES = options.examples(
    "evaluate beir/nq/ runs/nq.trec nDCG@10 RR@10 R@100 Success@20",
    'evaluate msmarco-passage/trec-dl-2019/judged runs/dl19.trec "R(rel=2)@100"',
    "evaluate triviaqa/ runs/triviaqa.trec --answers-in indexes/wiki",
)

_DEPTHS = (1, 5, 20, 100)


@explained
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Judgements: a BEIR folder (with or without its corpus), an ir_datasets id, or a qrels file.",
            show_default=False,
        ),
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="TREC run file.", show_default=False)],
    measures: Annotated[
        list[str] | None, typer.Argument(metavar="MEASURE", help="Such as nDCG@10 RR@10 R@100 Success@20.")
    ] = None,
    split: options.Split = None,
    answers_in: Annotated[
        Path | None,
        typer.Option(
            metavar="INDEX",
            help="Instead of judgements, look for the data set's answers in the texts of this index, as DPR does.",
        ),
    ] = None,
    download: options.Download = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Measure a run. Judged queries without hits count 0."""
    from elasticdenser.datasets import load_answers, load_qrels
    from elasticdenser.evaluation import evaluate as measure_run
    from elasticdenser.evaluation import parse_measures
    from elasticdenser.runs import read_run

    if answers_in is not None and measures:
        raise typer.BadParameter("give measures or --answers-in, not both")
    if answers_in is not None:
        values = _answer_match(load_answers(dataset, split=split, download=download), run, answers_in)
    else:
        parsed = parse_measures(measures or ["nDCG@10", "RR@10", "R@100"])
        results = measure_run(load_qrels(dataset, split=split, download=download), read_run(run), parsed)
        values = {str(measure): value for measure, value in results.items()}
    if as_json:
        typer.echo(json.dumps(values))
    else:
        print_table(
            f"{run} on {dataset}", ["value", "measure"], [[f"{v:.4f}", m] for m, v in values.items()], numeric=1
        )


def _answer_match(answers: dict[str, list[str]], run: Path, index: Path) -> dict[str, float]:
    from elasticdenser.evaluation.answers import answer_match
    from elasticdenser.index import PassageIndex
    from elasticdenser.runs import read_run

    texts = PassageIndex.open(index)
    note("answer match: the share of questions with an answer in the texts of the top k passages (DPR's has_answer)")
    found = answer_match(read_run(run), answers, lambda doc_id: texts.passage(doc_id).text, ks=_DEPTHS)
    return {f"answer match@{k}": value for k, value in found.items()}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(evaluate)
