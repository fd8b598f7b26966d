"""The part of a report on systems of several sizes."""

from __future__ import annotations

from collections.abc import Iterator

from elasticdenser.evaluation.comparison import Comparison
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Block, Code, Heading, Paragraph, Pictures, Sentence
from elasticdenser.reports.charts import retention_picture
from elasticdenser.reports.retention import MEAN_COLUMN, MS_COLUMN, Retention, retention_table, retentions


def retention_headings(comparison: Comparison) -> list[tuple[str, str]]:
    """Return title and anchor of each system of several sizes."""
    return [(_title(found), _anchor(place)) for place, found in enumerate(retentions(comparison), start=1)]


def retention_blocks(comparison: Comparison) -> Iterator[Block]:
    """Yield a table and a picture for each system of several sizes; nothing where there is none."""
    for place, found in enumerate(retentions(comparison), start=1):
        yield Heading(level=2, text=_title(found), anchor=_anchor(place))
        yield Paragraph(sentences=tuple(_sentences(found)))
        yield retention_table(found)
        picture = retention_picture(found, f"{_anchor(place)}-cost")
        if picture is not None:
            yield Pictures(items=(picture,))


def _title(found: Retention) -> str:
    return f"Retention by size: {text.plain(found.name)}"


def _anchor(place: int) -> str:
    return f"sizes{place}"


def _sentences(found: Retention) -> Iterator[Sentence]:
    largest = Code(text.plain(found.largest.name))
    yield (
        "Each size's figures as a share of those of the largest, ",
        largest,
        ", on queries without typing errors.",
    )
    if found.mistyped:
        heads = " and ".join(text.count(number, "error") for number in found.mistyped)
        what = f"{heads}: as {MEAN_COLUMN}, each query having as many typing errors; shares of what "
        yield (what, largest, " has without, so that its own row shows what they cost.")
    for number in found.mistyped:
        sets = found.with_errors(number)
        if len(sets) < len(found.query_sets):
            names = ", ".join(text.plain(info.name) for info in sets)
            yield (f"With {text.count(number, 'error')}: {names} alone.",)
    yield (f"{MEAN_COLUMN} and {MS_COLUMN}: over the query sets without typing errors, each counting alike.",)
