"""Report of a suite of GLUE: tables of tasks, shared subnets beside those trained alone, early exits, and a chart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from elasticdenser.evaluation.task_results import ALONE, COST_EFF_SHARE, EXITS, FULL, PUBLISHED, SHARED, TaskResults
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Block, Charts, Column, Commands, Details, Entry, Heading, Paragraph, Table
from elasticdenser.reports.charts.tasks import task_chart

_GROUPS = {
    FULL: "the full encoder, fine-tuned",
    SHARED: "subnets trained together",
    ALONE: "subnets trained alone",
    EXITS: "early exits by entropy, with the threshold, and by patience",
}


def glue_blocks(results: TaskResults) -> list[Block]:
    """Return the blocks of the report."""
    return [
        Heading(level=1, text=text.plain(results.title)),
        *_opening(results),
        Heading(level=2, text="At a glance"),
        overview_table(results),
        *_chart(results),
        *_differences(results),
        *_exits(results),
        Heading(level=2, text="Published figures"),
        Paragraph(
            sentences=(
                (
                    "Averages over the test sets of GLUE, in per cent, from TinyBERT (Jiao et al. 2020). They are of "
                    "other sets, other tasks and a larger teacher, and do not compare one to one.",
                ),
            )
        ),
        published_table(),
        *_published_operations(results),
        Heading(level=2, text="All measures"),
        measures_table(results),
        *_provenance(results),
    ]


def overview_table(results: TaskResults) -> Table:
    """Return the table of rows by tasks: mean scores, in per cent, and deviations over the seeds below them."""
    tasks = results.evaluated_tasks
    rows = []
    for row in results.rows:
        entries = [Entry(text=text.plain(row)), Entry(text=_millions(results.flops(row)))]
        for task in tasks:
            deviation = results.deviation(row, task)
            entries.append(Entry(text=_per_cent(results.mean(row, task)), small=_deviation(deviation)))
        entries.append(Entry(text=_per_cent(results.average(row))))
        rows.append(tuple(entries))
    titles = ("million operations", *tasks, "average")
    columns = (Column(title="Model", is_number=False), *(Column(title=title) for title in titles))
    return Table(columns=columns, rows=tuple(rows))


def difference_table(results: TaskResults) -> Table | None:
    """Return the table of subnets trained together less those trained alone, in points; None without such subnets."""
    return _points_table("Subnet", results.shared_less_alone(), results)


def exits_table(results: TaskResults) -> Table | None:
    """Return the table of early exits less subnets of as many operations, in points; None without early exits."""
    return _points_table("Early exits", results.exits_less_static(), results)


def published_table() -> Table:
    """Return the table of published averages."""
    rows = tuple((Entry(text=name), Entry(text=f"{value:.1f}")) for name, value in PUBLISHED.items())
    return Table(columns=(Column(title="Model", is_number=False), Column(title="Test average")), rows=rows)


def measures_table(results: TaskResults) -> Table:
    """Return the table of all figures, one row for each model, task and seed."""
    rows = []
    for cell in results.cells:
        measures = ", ".join(f"{name} {value:.4f}" for name, value in cell.measures.items())
        values = (cell.row, cell.task, str(cell.seed), measures, _millions(cell.flops))
        rows.append(tuple(Entry(text=text.plain(value)) for value in values))
    titles = (("Model", False), ("Task", False), ("Seed", True), ("Measures", False), ("million operations", True))
    return Table(columns=tuple(Column(title=title, is_number=number) for title, number in titles), rows=tuple(rows))


def _opening(results: TaskResults) -> Iterator[Block]:
    groups = [name for group, name in _GROUPS.items() if any(cell.group == group for cell in results.cells)]
    seeds = len({cell.seed for cell in results.cells})
    scores = (
        "A score is the mean of the task's own measures, in per cent; below it is the standard deviation over the "
        "seeds, where there are several."
    )
    yield Paragraph(
        sentences=(
            (f"Dev sets of {', '.join(results.evaluated_tasks)}; {text.count(seeds, 'seed')}.",),
            (f"Rows are {'; '.join(groups)}.",),
            (scores,),
            ("Operations are those spent on an example on average, without padding.",),
        )
    )
    if results.missing:
        yield Paragraph(sentences=(("Skipped:",),))
        yield Paragraph(sentences=tuple((text.plain(reason),) for reason in results.missing), is_list=True)


def _chart(results: TaskResults) -> Iterator[Block]:
    if chart := task_chart(results, "quality-cost"):
        yield Charts(items=(chart,))


def _differences(results: TaskResults) -> Iterator[Block]:
    if table := difference_table(results):
        yield Heading(level=2, text="Trained together or alone")
        yield Paragraph(sentences=(("Scores of subnets trained together less those trained alone, in points.",),))
        yield table


def _exits(results: TaskResults) -> Iterator[Block]:
    if table := exits_table(results):
        yield Heading(level=2, text="Early exits or smaller subnets")
        yield Paragraph(
            sentences=(
                (
                    "Scores of early exits less those of subnets trained together that take as many operations, in "
                    "points. Between two subnets the score is that of mixing them at random; below the cheapest one, "
                    "and above the dearest, it is theirs.",
                ),
            )
        )
        yield table


def _points_table(title: str, differences: Mapping[str, Mapping[str, float]], results: TaskResults) -> Table | None:
    """Return a table of name -> task -> difference, in points, with the mean over the tasks; None without any."""
    tasks = results.evaluated_tasks
    rows = []
    for name, by_task in differences.items():
        shown = [text.signed(100 * by_task[task], 1) if task in by_task else text.MISSING for task in tasks]
        mean = sum(by_task.values()) / len(by_task)
        rows.append(tuple(Entry(text=text.plain(entry)) for entry in (name, *shown, text.signed(100 * mean, 1))))
    columns = (Column(title=title, is_number=False), *(Column(title=column) for column in (*tasks, "mean")))
    return Table(columns=columns, rows=tuple(rows)) if rows else None


def _published_operations(results: TaskResults) -> Iterator[Block]:
    if FULL in results.rows:
        share = _millions(results.flops(FULL) / COST_EFF_SHARE)
        yield Paragraph(
            sentences=(
                (
                    f"COST-EFF (Shen et al. 2022) reports 1/{COST_EFF_SHARE} of the operations of BERT-base, its ",
                    f"teacher, which would be {share} million here.",
                ),
            )
        )


def _provenance(results: TaskResults) -> Iterator[Block]:
    yield Heading(level=2, text="How it was made")
    if results.commands:
        yield Commands(lines=results.commands)
    machine = json.dumps(results.environment, ensure_ascii=False)
    yield Details(summary="Machine", blocks=(Paragraph(sentences=((machine,),)),))


def _per_cent(share: float | None) -> str:
    return text.MISSING if share is None else f"{100 * share:.1f}"


def _millions(flops: float) -> str:
    return f"{flops / 1e6:,.0f}" if flops >= 1e7 else f"{flops / 1e6:.2f}"


def _deviation(share: float | None) -> str:
    return "" if share is None else f"± {100 * share:.1f}"
