"""Sections of a report, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from elasticdenser.evaluation.comparison import SIGNIFICANCE_LEVEL, Comparison, QuerySetInfo
from elasticdenser.reports import tables, text
from elasticdenser.reports.blocks import (
    Block,
    Chart,
    Charts,
    Code,
    Commands,
    Contents,
    Details,
    Heading,
    Paragraph,
    Sentence,
)
from elasticdenser.reports.charts.cost import cost_chart
from elasticdenser.reports.charts.curves import curve_chart
from elasticdenser.reports.charts.gains import gains_chart
from elasticdenser.reports.retention_section import retention_blocks, retention_headings

_PROVENANCE = "how-it-was-made"
_PROVENANCE_TITLE = "How it was made"
_FINGERPRINT_LENGTH = 12


def report_blocks(comparison: Comparison) -> list[Block]:
    """Return the blocks of the whole report."""
    blocks: list[Block] = [Heading(level=1, text=text.plain(comparison.title)), *_opening(comparison)]
    contents = _contents(comparison)
    if len(contents.items) > 2:
        blocks.append(contents)
    if _has_overview(comparison):
        blocks += [
            Heading(level=2, text="At a glance"),
            tables.overview_table(comparison),
            *retention_blocks(comparison),
        ]
    for number, info in enumerate(comparison.query_sets, start=1):
        blocks.append(Heading(level=2, text=_query_set_title(info), anchor=_anchor(number, info)))
        blocks += _query_set(comparison, info, _anchor(number, info))
    if not _has_overview(comparison):
        blocks += retention_blocks(comparison)
    return [*blocks, *_provenance(comparison)]


def _has_overview(comparison: Comparison) -> bool:
    """Return whether the report begins with a table of all query sets; the retention of subnets follows it.

    With one query set, its own table is the main one, so that the retention comes after it.
    """
    return len(comparison.query_sets) > 1


def _opening(comparison: Comparison) -> Iterator[Block]:
    baseline: Sentence = (Code(text.plain(comparison.baseline)),)
    counts = f"{text.count(len(comparison.query_sets), 'query set')}, {text.count(len(comparison.systems), 'system')}"
    if len(comparison.systems) < 2:
        yield Paragraph(sentences=((counts, "; there is nothing to compare it with."),))
        yield Paragraph(sentences=(("Below each mean is its 95% bootstrap interval over queries.",),))
    else:
        yield Paragraph(sentences=((counts, ", baseline ", *baseline, "."),))
        marks: Sentence = (
            f"{text.BETTER} marks systems that are significantly better than ",
            *baseline,
            f", {text.WORSE} systems that are significantly worse: p < {SIGNIFICANCE_LEVEL:g} "
            "(paired randomisation test, Holm-corrected across the systems of a column).",
        )
        rest: Sentence = (
            "Below each mean is its 95% bootstrap interval over queries. The best value of a column is in bold.",
        )
        yield Paragraph(sentences=(marks, rest))
    if comparison.skipped:
        yield Paragraph(sentences=(("Skipped:",),))
        yield Paragraph(sentences=tuple(_skipped_sentences(comparison)), is_list=True)


def _skipped_sentences(comparison: Comparison) -> Iterator[Sentence]:
    for skipped in comparison.skipped:
        subject: Sentence = (Code(text.plain(skipped.query_set)),)
        if skipped.system:
            subject = (Code(text.plain(skipped.system)), " on ", *subject)
        yield (*subject, f": {text.plain(skipped.reason)}")


def _contents(comparison: Comparison) -> Contents:
    query_sets = (
        (_anchor(number, info), _query_set_title(info)) for number, info in enumerate(comparison.query_sets, start=1)
    )
    families = ((anchor, title) for title, anchor in retention_headings(comparison))
    sections = (*families, *query_sets) if _has_overview(comparison) else (*query_sets, *families)
    return Contents(items=(*sections, (_PROVENANCE, _PROVENANCE_TITLE)))


def _anchor(number: int, info: QuerySetInfo) -> str:
    # The number makes anchors and files unique: two names may have the same slug.
    return f"set{number}-{text.slug(info.name)}".rstrip("-")


def _query_set_title(info: QuerySetInfo) -> str:
    return text.plain(info.title) or text.plain(info.name)


def _query_set(comparison: Comparison, info: QuerySetInfo, anchor: str) -> Iterator[Block]:
    counts = text.count(len(info.queries), "query")
    if info.n_passages is not None:
        counts += f" over {text.count(info.n_passages, 'passage')}"
    yield Paragraph(sentences=((Code(text.plain(info.name)), f": {counts}."), *_table_remarks(comparison, info)))
    cells = [cell for cell in comparison.cells if cell.query_set == info.name]
    if not cells or not info.measures:
        yield Paragraph(sentences=(("Nothing was measured on this query set.",),))
        return
    yield tables.result_table(comparison, info)
    yield from _differences(comparison, info)
    yield Heading(level=3, text="Charts")
    yield from _charts(comparison, info, anchor)
    yield from _extremes(comparison, info)


def _table_remarks(comparison: Comparison, info: QuerySetInfo) -> Iterator[Sentence]:
    """Yield remarks on measures that do not count all queries, and on the timing of the systems."""
    cell = next((cell for cell in comparison.cells if cell.query_set == info.name), None)
    counts = {measure: len(values) for measure, values in cell.values.items()} if cell else {}
    for n_queries in dict.fromkeys(count for count in counts.values() if count != len(info.queries)):
        names = ", ".join(text.plain(measure) for measure, count in counts.items() if count == n_queries)
        yield (f"{names}: mean over {n_queries:,} of the queries.",)
    if remark := tables.precision_remark(comparison):
        yield (remark,)
    if any(cell.ms_per_query for cell in comparison.cells if cell.query_set == info.name) and info.timed_k:
        hits = text.count(info.timed_k, "hit")
        yield (f"{tables.MS_COLUMN}: median time of a single query, encoding included, with {hits}.",)


def _differences(comparison: Comparison, info: QuerySetInfo) -> Iterator[Block]:
    others = [system.name for system in comparison.systems if system.name != comparison.baseline]
    if not any(comparison.cell(info.name, name) for name in others):
        return
    baseline = Code(text.plain(comparison.baseline))
    if comparison.cell(info.name, comparison.baseline) is None:
        yield Paragraph(sentences=((baseline, " was not run on this query set, so there are no differences."),))
        return
    table = tables.difference_table(comparison, info)
    if table is not None:
        title = f"Differences from {text.plain(comparison.baseline)} in {text.plain(info.measures[0])}"
        yield Heading(level=3, text=title)
        yield table


def _charts(comparison: Comparison, info: QuerySetInfo, anchor: str) -> Iterator[Block]:
    side_by_side = (cost_chart(comparison, info, f"{anchor}-cost"), curve_chart(comparison, info, f"{anchor}-curves"))
    if side_by_side[0] is None:
        yield Paragraph(sentences=(("No system was timed here, so there is no chart of quality against time.",),))
    for group in (side_by_side, (gains_chart(comparison, info, f"{anchor}-gains"),)):
        charts: tuple[Chart, ...] = tuple(chart for chart in group if chart is not None)
        if charts:
            yield Charts(items=charts)


def _extremes(comparison: Comparison, info: QuerySetInfo) -> Iterator[Block]:
    baseline = comparison.cell(info.name, comparison.baseline)
    measure = info.measures[0]
    if baseline is None or not baseline.values.get(measure):
        return
    details: list[Details] = []
    for system in comparison.systems:
        cell = comparison.cell(info.name, system.name)
        if cell is None or cell is baseline or not cell.values.get(measure):
            continue
        share, table = tables.extremes(info, cell, baseline)
        no_change: Block = Paragraph(sentences=((f"{text.plain(measure)} is the same for every query.",),))
        details.append(Details(summary=f"{text.plain(system.name)}: {share}", blocks=(table or no_change,)))
    if details:
        title = f"Queries with the largest gains and losses against {text.plain(comparison.baseline)}"
        yield Heading(level=3, text=title)
        yield from details


def _provenance(comparison: Comparison) -> Iterator[Block]:
    yield Heading(level=2, text=_PROVENANCE_TITLE, anchor=_PROVENANCE)
    if comparison.skipped:
        yield Heading(level=3, text="Skipped")
        rows = [(s.query_set, s.system or "all", s.reason) for s in comparison.skipped]
        yield tables.text_table(("Query set", "System", "Reason"), rows)
    if comparison.commands:
        yield Heading(level=3, text="Commands")
        yield Commands(lines=tuple(map(text.visible, comparison.commands)))
    yield Heading(level=3, text="Systems")
    systems = [(s.name, s.title, _settings(s.settings)) for s in comparison.systems]
    yield tables.text_table(("System", "Title", "Settings"), systems)
    yield Heading(level=3, text="Query sets")
    sets = [
        (s.name, s.title, ", ".join(s.measures), f"{len(s.queries):,}", s.fingerprint[:_FINGERPRINT_LENGTH])
        for s in comparison.query_sets
    ]
    titles = ("Query set", "Title", "Measures", "Queries", "Fingerprint")
    yield tables.text_table(titles, sets, code=("Fingerprint",))
    if comparison.cells:
        yield Heading(level=3, text="Runs")
        runs = [(c.query_set, c.system, c.run, c.fingerprint[:_FINGERPRINT_LENGTH]) for c in comparison.cells]
        yield tables.text_table(
            ("Query set", "System", "Run file", "Fingerprint"), runs, code=("Run file", "Fingerprint")
        )
    if comparison.environment:
        yield Heading(level=3, text="Environment")
        yield tables.text_table(("Property", "Value"), list(_flat(comparison.environment)))


def _settings(settings: dict[str, Any]) -> str:
    return "; ".join(f"{name} = {value}" for name, value in _flat(settings))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values as texts, those of nested dictionaries as `outer.inner`."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            is_text = isinstance(value, str)
            yield f"{prefix}{name}", value if is_text else json.dumps(value, ensure_ascii=False, default=str)
