"""`elasticdenser evaluate`: measure runs, with the measures of ir_measures, and compare them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import aligned, note, print_json, print_lines, print_significance, print_table

if TYPE_CHECKING:
    from ir_measures import Measure, Qrel, ScoredDoc

    from elasticdenser.evaluation.measures import RunValues
    from elasticdenser.evaluation.run_comparison import MeasuredRun

    _AnswerMatch = Callable[[list[ScoredDoc]], dict[Measure, dict[str, float]]]

_EXAMPLES = options.examples(
    "evaluate beir/nq/ runs/nq.trec nDCG@10 RR@10 R@100 Success@20",
    "evaluate beir/nq/ runs/bm25.trec runs/nq.trec ndcg_cut_10 recall_100    (the first run is the baseline)",
    'evaluate msmarco-passage/trec-dl-2019/judged runs/dl19.trec "R(rel=2)@100"',
    "evaluate nq-test.qa.csv runs/nq.trec --answers-in indexes/wiki",
    "evaluate triviaqa/ runs/triviaqa.trec RR@10 AnswerMatch@20 --answers-in indexes/wiki",
)

_DEFAULT = ("nDCG@10", "RR@10", "R@100")
_RUN_ENDINGS = (".trec", ".run", ".txt", ".gz", ".res")
"""Endings of arguments that are runs, even where there is no such file."""

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
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...] [MEASURE...]",
            help="Further runs, which are compared with the first one; and measures, such as nDCG@10 or Success@20, or "
            "as trec_eval names them. Default: nDCG@10 RR@10 R@100; with --answers-in, AnswerMatch at 1, 5, 20 and "
            "100.",
            show_default=False,
        ),
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; with several runs, a line of JSON for each.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line for each run and measure.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table, a row for each run.")] = False,
) -> None:
    """Measure the quality of runs; a judged query without hits counts 0.

    Several runs are compared with the first one, query by query: paired randomisation test, Holm's correction.
    """
    from elasticdenser.datasets import load_answers, load_qrels
    from elasticdenser.datasets.runs import read_run
    from elasticdenser.evaluation.answers import answer_match_by_query
    from elasticdenser.evaluation.run_comparison import compare_runs
    from elasticdenser.evaluation.significance import check_significance
    from elasticdenser.index import PassageIndex

    paths, names = _runs_and_measures(run, more or [])
    parsed = _parsed(names or (_DEFAULT if answers_in is None else _DEFAULT_WITH_ANSWERS))
    by_answers = [measure for measure in parsed if measure.NAME == "AnswerMatch"]
    by_qrels = [measure for measure in parsed if measure.NAME != "AnswerMatch"]
    _check_usage(by_answers, answers_in, regex)
    if len(paths) > 1:
        check_significance()
    if as_json + as_csv + as_latex > 1:
        raise typer.BadParameter("give one of --json, --csv and --latex")
    qrels = load_qrels(dataset, split=split, download=download) if by_qrels else []
    answers = load_answers(dataset, split=split, download=download) if by_answers else {}
    match = None
    if answers_in is not None:
        note("AnswerMatch: the share of questions with an answer in the texts of the top k passages (DPR's accuracy)")
        text_of = PassageIndex.open(answers_in).text
        match = partial(answer_match_by_query, answers=answers, text_of=text_of, measures=by_answers, regex=regex)
    measured: dict[str, RunValues] = {}
    for path in paths:
        if len(paths) > 1:
            note(f"measuring {path}")
        measured[str(path)] = _measure(read_run(path), qrels, by_qrels, match)
    runs = compare_runs(measured, parsed)
    if as_json:
        _print_as_json(runs)
    elif as_csv or as_latex:
        from elasticdenser.reports.run_tables import runs_as_csv, runs_as_latex

        print_lines((runs_as_csv if as_csv else runs_as_latex)(runs))
    else:
        _print(runs, dataset)


def _runs_and_measures(first: Path, more: list[str]) -> tuple[list[Path], list[str]]:
    """Divide arguments into runs, which are files, and measures.

    Raises:
        typer.BadParameter: A run is given twice.
    """
    runs, measures = [first], []
    for argument in more:
        is_run = "/" in argument or argument.endswith(_RUN_ENDINGS) or Path(argument).is_file()
        if not is_run:
            measures.append(argument)
        elif Path(argument) in runs:
            raise typer.BadParameter(f"got the run {argument} twice, expected each run once")
        else:
            runs.append(Path(argument))
    return runs, measures


def _parsed(names: Sequence[str]) -> list[Measure]:
    from elasticdenser.errors import BadInputError
    from elasticdenser.evaluation import parse_measures

    try:
        return parse_measures(names)
    except BadInputError as error:
        raise BadInputError(f"{error}; nor is there a run file of such a name") from None


def _measure(
    hits: list[ScoredDoc],
    qrels: list[Qrel],
    by_qrels: list[Measure],
    match: _AnswerMatch | None,
) -> RunValues:
    from elasticdenser.evaluation.measures import RunValues, measure_run

    values = measure_run(qrels, hits, by_qrels) if by_qrels else RunValues({}, {})
    if match is not None:
        by_query = match(hits)
        values.by_query.update(by_query)
        values.aggregated.update({measure: fmean(shares.values()) for measure, shares in by_query.items()})
    return values


def _print(runs: list[MeasuredRun], dataset: str) -> None:
    from elasticdenser.reports.run_tables import run_rows

    if len(runs) == 1:
        rows = [[f"{value:.4f}", name] for name, value in runs[0].values.items()]
        print_table(f"{runs[0].name} on {dataset}", ["value", "measure"], rows, numeric=1)
        return
    columns, rows = run_rows(runs)
    aligned_rows = [[*map(aligned, row[:-1]), row[-1]] for row in rows]
    headings = [*(f"{column}  " for column in columns[:-1]), columns[-1]]
    print_table(dataset, headings, aligned_rows, numeric=len(columns) - 1)
    print_significance(runs[0].name)


def _print_as_json(runs: list[MeasuredRun]) -> None:
    if len(runs) == 1:
        print_json(runs[0].values)
        return
    for run in runs:
        differences = {
            measure: {name: getattr(difference, name) for name in ("difference", "low", "high", "p", "p_holm")}
            for measure, difference in run.differences.items()
        }
        print_json({"run": run.name, "values": run.values, "differences": differences})


def _check_usage(by_answers: list[Measure], answers_in: Path | None, regex: bool) -> None:
    if by_answers and answers_in is None:
        raise typer.BadParameter(f"{by_answers[0]} needs the passages' texts: add --answers-in INDEX")
    if answers_in is not None and not by_answers:
        raise typer.BadParameter("--answers-in is for AnswerMatch@k: add one, such as AnswerMatch@20, or leave it out")
    if regex and answers_in is None:
        raise typer.BadParameter("--regex is for AnswerMatch@k: add --answers-in INDEX")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(evaluate)
