"""`elasticdenser eval`: a whole suite of data sets and systems, in one command."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table, progress_bars

if TYPE_CHECKING:
    from elasticdenser.evaluation import Comparison

_EXAMPLES = options.examples(
    "eval eval/suites/open-qa.toml -o eval/runs/open-qa",
    "eval eval/suites/open-qa-local.toml --data DATA -o eval/runs/local --indexes indexes/",
    "eval eval/suites/open-qa-local.toml --data DATA -o eval/runs/sizes --subnet all",
    "eval eval/suites/beir.toml -o eval/runs/beir --query-set scifact --system bm25 --download",
)


@explained
def eval_(
    suite: Annotated[Path, typer.Argument(metavar="SUITE", help="Suite file (.toml).", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for runs, figures and the report; what is there is kept.")
    ],
    data: Annotated[Path, typer.Option(help="Folder that names of local data in the suite start from.")] = Path(),
    indexes: Annotated[
        Path | None, typer.Option(help="Where indexes are made and kept. Default: in the output folder.")
    ] = None,
    query_set: Annotated[
        list[str] | None, typer.Option(help="Only this query set of the suite, in the report too; repeatable.")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this system, or this size of one (NAME.w0.5-d3), beside baseline and what it fuses; repeatable."
        ),
    ] = None,
    subnet: Annotated[
        list[str] | None,
        typer.Option(
            help="Size of the query encoder, or all, for all dense systems, whatever the suite says; repeatable."
        ),
    ] = None,
    timed: Annotated[int, typer.Option(min=0, help="Queries of each set to time, one at a time; 0 for none.")] = 50,
    workers: Annotated[int | None, typer.Option(min=1, help="Cores to encode on. Default: all usable ones.")] = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    download: options.Download = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each cell.")] = False,
) -> None:
    """Evaluate all systems of a suite on all its data sets: figures, significance, a report.

    Makes what is missing and keeps what is there; interrupted, the same command goes on.
    Data sets that are not on this machine are skipped, and the report says so.
    """
    from elasticdenser.suites import SuiteOptions, cell_lines, read_suite, run_suite

    chosen = read_suite(suite).with_subnets(subnet or []).only(query_sets=query_set or [], systems=system or [])
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
    command = shlex.join(["elasticdenser", *sys.argv[1:]])
    try:
        with progress_bars() as progress:
            comparison = run_suite(chosen, output, settings, commands=[command], progress=progress)
    except KeyboardInterrupt:
        note("interrupted: what is finished is safe; run the same command again and it goes on from there")
        raise typer.Exit(1) from None
    if as_json:
        for line in cell_lines(comparison):
            typer.echo(json.dumps(line, ensure_ascii=False))
    else:
        _print(comparison)
    for skipped in comparison.skipped:
        note(f"skipped {skipped.system or 'all systems'} on {skipped.query_set}: {skipped.reason}")
    note(f"report: {output / 'report.html'} and {output / 'report.md'}")


def _print(comparison: Comparison) -> None:
    from elasticdenser.reports.retention import retention_rows, retentions
    from elasticdenser.reports.tables import result_rows

    for query_set in comparison.query_sets:
        columns, rows = result_rows(comparison, query_set.name)
        table = [[columns[0], *columns[1:]], *rows]
        # The longer side stands upright: a terminal has more lines than columns.
        if len(columns) > len(table):
            table = [list(column) for column in zip(["Measure", *columns[1:]], *rows, strict=True)]
        # What a line is comes last, where it may wrap.
        turned = [[*map(_aligned, row[1:]), row[0]] for row in table]
        print_table(query_set.title, turned[0], turned[1:], numeric=len(turned[0]) - 1)
    for found in retentions(comparison):
        columns, rows = retention_rows(found)
        turned = [[*row[1:], row[0]] for row in (columns, *rows)]
        title = f"Share of what {found.largest.name} has without typing errors"
        print_table(title, turned[0], turned[1:], numeric=len(columns) - 1)
    typer.echo(f"▲ better, ▼ worse than {comparison.baseline}: paired randomisation test, Holm-corrected p < .05")


def _aligned(cell: str) -> str:
    """Leave room for a mark, so that digits stand below digits."""
    return cell if cell.endswith(("▲", "▼")) else f"{cell}  "


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="eval", epilog=_EXAMPLES)(eval_)
