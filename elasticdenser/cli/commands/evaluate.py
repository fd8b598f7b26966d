"""`elasticdenser evaluate`: measure a run, with the measures of ir_measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, print_table

if TYPE_CHECKING:
    from ir_measures import Measure, ScoredDoc

_EXAMPLES = options.examples(
    "evaluate beir/nq/ runs/nq.trec nDCG@10 RR@10 R@100 Success@20",
    'evaluate msmarco-passage/trec-dl-2019/judged runs/dl19.trec "R(rel=2)@100"',
    "evaluate nq-test.qa.csv runs/nq.trec --answers-in indexes/wiki",
    "evaluate triviaqa/ runs/triviaqa.trec RR@10 AnswerMatch@20 --answers-in indexes/wiki",
)

_DEFAULT = ("nDCG@10", "RR@10", "R@100")
_DEFAULT_WITH_ANSWERS = ("AnswerMatch@1", "AnswerMatch@5", "AnswerMatch@20", "AnswerMatch@100")


@command
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Judgements: a BEIR folder (with or without its corpus), an ir_datasets id, or a qrels file. "
            "For AnswerMatch, answers: a BEIR folder or JSONL file with them, an ir_datasets id, or a .csv of DPR.",
            show_default=False,
        ),
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="TREC run file.", show_default=False)],
    measures: Annotated[
        list[str] | None,
        typer.Argument(metavar="MEASURE", help="Measures, such as nDCG@10 RR@10 R@100 AnswerMatch@20."),
    ] = None,
    split: options.Split = None,
    answers_in: Annotated[
        Path | None,
        typer.Option(
            metavar="INDEX",
            help="For AnswerMatch@k: the index that holds the passages' texts. AnswerMatch@k is the share of questions "
            "with an answer in the texts of the k best passages (DPR's top-k accuracy).",
        ),
    ] = None,
    regex: Annotated[bool, typer.Option("--regex", help="The answers are regular expressions (CuratedTREC).")] = False,
    download: options.Download = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a run; a judged query without hits counts 0."""
    from elasticdenser.datasets import load_answers, load_qrels
    from elasticdenser.datasets.runs import read_run
    from elasticdenser.evaluation import evaluate as measure_run
    from elasticdenser.evaluation import parse_measures

    parsed = parse_measures(measures or (_DEFAULT if answers_in is None else _DEFAULT_WITH_ANSWERS))
    by_answers = [measure for measure in parsed if measure.NAME == "AnswerMatch"]
    by_qrels = [measure for measure in parsed if measure.NAME != "AnswerMatch"]
    _check_usage(by_answers, answers_in, regex)
    qrels = load_qrels(dataset, split=split, download=download) if by_qrels else []
    answers = load_answers(dataset, split=split, download=download) if by_answers else {}
    hits = read_run(run)
    values = measure_run(qrels, hits, by_qrels) if by_qrels else {}
    if answers_in is not None:
        values |= _answer_match(hits, answers, answers_in, by_answers, regex)
    named_values = {str(measure): values[measure] for measure in parsed}
    if as_json:
        typer.echo(json.dumps(named_values))
    else:
        rows = [[f"{value:.4f}", name] for name, value in named_values.items()]
        print_table(f"{run} on {dataset}", ["value", "measure"], rows, numeric=1)


def _check_usage(by_answers: list[Measure], answers_in: Path | None, regex: bool) -> None:
    if by_answers and answers_in is None:
        raise typer.BadParameter(f"{by_answers[0]} needs the passages' texts: add --answers-in INDEX")
    if answers_in is not None and not by_answers:
        raise typer.BadParameter("--answers-in is for AnswerMatch@k: add one, such as AnswerMatch@20, or leave it out")
    if regex and answers_in is None:
        raise typer.BadParameter("--regex is for AnswerMatch@k: add --answers-in INDEX")


def _answer_match(
    hits: list[ScoredDoc], answers: dict[str, list[str]], index: Path, measures: list[Measure], regex: bool
) -> dict[Measure, float]:
    from elasticdenser.evaluation.answers import answer_match
    from elasticdenser.index import PassageIndex

    passages = PassageIndex.open(index)
    note("AnswerMatch: the share of questions with an answer in the texts of the top k passages (DPR's top-k accuracy)")
    cutoffs = [measure.params["cutoff"] for measure in measures]
    values = answer_match(hits, answers, passages.text, ks=cutoffs, regex=regex)
    return {measure: values[k] for measure, k in zip(measures, cutoffs, strict=True)}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(evaluate)
