"""`elasticdenser eval`: evaluate all systems of a suite on all its data sets."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import (
    aligned,
    note,
    print_json,
    print_lines,
    print_significance,
    print_table,
    progress_bars,
)

if TYPE_CHECKING:
    from elasticdenser.evaluation import Comparison
    from elasticdenser.evaluation.intent_results import IntentResults
    from elasticdenser.evaluation.task_results import TaskResults
    from elasticdenser.reports.blocks import Table
    from elasticdenser.suites import GlueSuite, IntentSuite, SuiteOptions

_EXAMPLES = options.examples(
    "eval eval/suites/open-qa.toml -o eval/runs/open-qa",
    "eval eval/suites/open-qa-local.toml --data DATA -o eval/runs/local --indexes indexes/",
    "eval eval/suites/open-qa-local.toml --data DATA -o eval/runs/subnets --subnet all",
    "eval eval/suites/glue-local.toml --data DATA -o eval/runs/glue",
    "eval eval/suites/intent-local.toml --data DATA -o eval/runs/intent",
    "eval eval/suites/beir.toml -o eval/runs/beir --query-set scifact --system bm25 --download",
)


@command
def eval_(
    suite: Annotated[Path, typer.Argument(metavar="SUITE", help="Suite file (.toml).", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for runs, figures and the report; existing ones are reused.",
            callback=options.output_folder,
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder that paths of local data in the suite are relative to.")] = Path(),
    indexes: Annotated[Path | None, typer.Option(help="Folder of the indexes. Default: in the output folder.")] = None,
    query_set: Annotated[
        list[str] | None, typer.Option(help="Evaluate and report only this query set of the suite; repeatable.")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="Evaluate only this system, or this subnet of a system (NAME.w0.5-d3), with the baseline and the "
            "systems that it fuses or reranks; repeatable."
        ),
    ] = None,
    subnet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUBNET",
            help="Subnet of the query encoder for all dense systems, instead of the suite's own; all: every subnet; "
            "repeatable.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Arithmetic of the query encoder for all dense systems, instead of the suite's own: int8 (CPU), fp32, "
            "bf16, fp16 (GPU), or auto: as queries are served."
        ),
    ] = None,
    ranker: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Ranker for all systems of type rerank, instead of the suite's own.",
            show_default=False,
        ),
    ] = None,
    timed: Annotated[
        int, typer.Option(min=0, help="Number of queries of each query set to time, one at a time; 0: none.")
    ] = 50,
    workers: options.EncodingWorkers = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    download: options.Download = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each system and query set.")
    ] = False,
) -> None:
    """Evaluate all systems of a suite on all its data sets: figures, significance, a report.

    Builds missing indexes and runs, and reuses existing ones.
    After an interruption, the same command resumes the evaluation.
    Data sets that are not on this machine are skipped, and the report lists them.
    """
    from elasticdenser.suites import Suite, SuiteOptions, cell_lines, read_any_suite, run_suite

    if precision is not None:
        options.dtype_of(precision)  # refuses an unknown one
    content = read_any_suite(suite)
    if not isinstance(content, Suite):
        if query_set or system or subnet or precision or ranker:
            raise typer.BadParameter("this suite has no query sets, systems and rankers: change the file instead")
        _run_tasks(content, output, SuiteOptions(data=data, device=device, timed_queries=timed), as_json=as_json)
        return
    chosen = content.with_subnets(subnet or []).with_precision(precision).with_ranker(ranker)
    chosen = chosen.only(query_sets=query_set or [], systems=system or [])
    options.compute_on_one_thread()
    settings = SuiteOptions(
        data=data,
        indexes=indexes,
        download=download,
        offline=offline,
        workers=workers,
        device=device,
        timed_queries=timed,
    )
    command_line = shlex.join(["elasticdenser", *sys.argv[1:]])
    with resumable(), progress_bars() as progress:
        comparison = run_suite(chosen, output, settings, commands=[command_line], progress=progress)
    if as_json:
        for line in cell_lines(comparison):
            print_json(line)
    else:
        _print(comparison)
    for skipped in comparison.skipped:
        note(f"skipped {skipped.system or 'all systems'} on {skipped.query_set}: {skipped.reason}")
    note(f"report: {output / 'report.html'} and {output / 'report.md'}")


def _print(comparison: Comparison) -> None:
    from elasticdenser.reports.retention import retention_rows, retentions
    from elasticdenser.reports.tables import precision_remark, result_rows

    for query_set in comparison.query_sets:
        columns, rows = result_rows(comparison, query_set.name)
        table = [columns, *rows]
        # Turned if it has more columns than rows: a terminal has room for more lines than columns.
        if len(columns) > len(table):
            table = [list(column) for column in zip(["Measure", *columns[1:]], *rows, strict=True)]
        # The heading of a row comes last, where it may wrap.
        turned = [[*map(aligned, row[1:]), row[0]] for row in table]
        print_table(query_set.title, turned[0], turned[1:], numeric=len(turned[0]) - 1)
    for retention in retentions(comparison):
        columns, rows = retention_rows(retention)
        turned = [[*row[1:], row[0]] for row in (columns, *rows)]
        title = f"Share of the quality of {retention.largest.name} without slips"
        print_table(title, turned[0], turned[1:], numeric=len(columns) - 1)
    print_significance(comparison.baseline)
    if remark := precision_remark(comparison):
        print_lines(remark)


def _run_tasks(suite: GlueSuite | IntentSuite, output: Path, settings: SuiteOptions, *, as_json: bool) -> None:
    from elasticdenser.suites import GlueSuite, run_glue_suite, run_intent_suite

    commands = [shlex.join(["elasticdenser", *sys.argv[1:]])]
    results: TaskResults | IntentResults
    with resumable(), progress_bars() as progress:
        if isinstance(suite, GlueSuite):
            results = run_glue_suite(suite, output, settings, commands=commands, progress=progress)
            tables = _glue_tables(results)
        else:
            results = run_intent_suite(suite, output, settings, commands=commands, progress=progress)
            tables = _intent_tables(results)
    if as_json:
        for line in results.lines():
            print_json(line)
    else:
        for title, table in tables.items():
            _print_report_table(title, table)
    for reason in results.missing:
        note(f"skipped {reason}")
    note(f"report: {output / 'report.html'} and {output / 'report.md'}")


def _glue_tables(results: TaskResults) -> dict[str, Table]:
    from elasticdenser.reports.glue import difference_table, overview_table

    differences = difference_table(results)
    more = {} if differences is None else {"Together less alone": differences}
    return {"Scores on the dev sets, %": overview_table(results), **more}


def _intent_tables(results: IntentResults) -> dict[str, Table]:
    from elasticdenser.reports.intents import task_table

    return {f"{task}, {results.split}": task_table(results, task) for task in results.evaluated_tasks}


def _print_report_table(title: str, table: Table) -> None:
    columns = [column.title for column in table.columns]
    rows = [[f"{entry.text} {entry.small}".strip() for entry in row] for row in table.rows]
    # The name of a row comes last, where it may wrap.
    columns, rows = [*columns[1:], columns[0]], [[*row[1:], row[0]] for row in rows]
    print_table(title, columns, rows, numeric=len(columns) - 1)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="eval", epilog=_EXAMPLES)(eval_)
