"""Section of a report on systems with several subnets."""

from __future__ import annotations

from collections.abc import Iterator

from elasticdenser.evaluation.comparison import Comparison
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Block, Charts, Code, Heading, Paragraph, Sentence
from elasticdenser.reports.charts.cost import retention_chart
from elasticdenser.reports.retention import MEAN_COLUMN, Retention, retention_table, retentions
from elasticdenser.reports.tables import MS_COLUMN


def retention_headings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return title and anchor of the section of each family of systems."""
    return [(_title(retention), _anchor(number)) for number, retention in enumerate(retentions(comparison), start=1)]


def retention_blocks(comparison: Comparison) -> Iterator[Block]:
    """Yield a table and a chart for each family of systems with several subnets."""
    for number, retention in enumerate(retentions(comparison), start=1):
        yield Heading(level=2, text=_title(retention), anchor=_anchor(number))
        yield Paragraph(sentences=tuple(_sentences(retention)))
        yield retention_table(retention)
        chart = retention_chart(retention, f"{_anchor(number)}-cost")
        if chart is not None:
            yield Charts(items=(chart,))


def _title(retention: Retention) -> str:
    return f"Retention by subnet: {text.plain(retention.family)}"


def _anchor(number: int) -> str:
    return f"subnets{number}"


def _sentences(retention: Retention) -> Iterator[Sentence]:
    largest = Code(text.plain(retention.largest.name))
    yield (
        "The quality of each subnet as a share of the quality of the largest subnet, ",
        largest,
        ", on queries without slips.",
    )
    yield (f"{MEAN_COLUMN} and {MS_COLUMN} are means over the query sets without slips.",)
    if retention.with_slips:
        columns = ", ".join(map(text.plain, retention.with_slips))
        yield (
            f"{columns}: the mean with these typing errors or slips in each query, as a share of the quality of ",
            largest,
            " without them.",
        )
    for slips in retention.with_slips:
        query_sets = retention.existing_with(slips)
        if len(query_sets) < len(retention.query_sets):
            names = ", ".join(text.plain(info.name) for info in query_sets)
            yield (f"With {text.plain(slips)}: {names} only.",)
