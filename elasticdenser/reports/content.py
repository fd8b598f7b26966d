"""What a report says, in its order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from elasticdenser.evaluation.comparison import Comparison, QuerySetInfo
from elasticdenser.reports import tables, text
from elasticdenser.reports.blocks import (
    Block,
    Code,
    Commands,
    Contents,
    Details,
    Heading,
    Paragraph,
    Picture,
    Pictures,
    Sentence,
)
from elasticdenser.reports.charts import cost_picture, curve_picture
from elasticdenser.reports.gains import gains_picture
from elasticdenser.reports.sizes import retention_blocks, retention_headings

_MADE = "how-it-was-made"
_FINGERPRINT = 12


def document(comparison: Comparison) -> list[Block]:
    """Return the whole report."""
    blocks: list[Block] = [Heading(level=1, text=text.plain(comparison.title)), *_opening(comparison)]
    if len(comparison.query_sets) > 1:
        blocks += [_contents(comparison), Heading(level=2, text="At a glance"), tables.overview_table(comparison)]
    blocks += retention_blocks(comparison)
    for place, info in enumerate(comparison.query_sets, start=1):
        blocks.append(Heading(level=2, text=_set_title(info), anchor=_anchor(place, info)))
        blocks += _query_set(comparison, info, _anchor(place, info))
    return [*blocks, *_making(comparison)]


def _opening(comparison: Comparison) -> Iterator[Block]:
    baseline: Sentence = (Code(text.plain(comparison.baseline)),)
    compared = f"{text.count(len(comparison.query_sets), 'query set')}, {text.count(len(comparison.systems), 'system')}"
    if len(comparison.systems) < 2:
        yield Paragraph(sentences=((compared, "; nothing to compare it with."),))
        yield Paragraph(sentences=(("Beneath each mean stands its 95% bootstrap interval over queries.",),))
    else:
        yield Paragraph(sentences=((compared, ", baseline ", *baseline, "."),))
        marks = (f"{text.BETTER} better and {text.WORSE} worse than ", *baseline, " with p < 0.05 ")
        rest = (
            "(paired randomisation test, Holm-corrected across the systems of a column); beneath each mean its 95% "
            "bootstrap interval over queries; the best of a column is bold."
        )
        yield Paragraph(sentences=((*marks, rest),))
    if comparison.skipped:
        yield Paragraph(sentences=(("Skipped:",),))
        yield Paragraph(sentences=tuple(_skipped_sentences(comparison)), is_list=True)


def _skipped_sentences(comparison: Comparison) -> Iterator[Sentence]:
    for skipped in comparison.skipped:
        where: Sentence = (Code(text.plain(skipped.query_set)),)
        if skipped.system:
            where = (Code(text.plain(skipped.system)), " on ", *where)
        yield (*where, f": {text.plain(skipped.reason)}")


def _contents(comparison: Comparison) -> Contents:
    sets = ((_anchor(place, info), _set_title(info)) for place, info in enumerate(comparison.query_sets, start=1))
    sizes = ((anchor, title) for title, anchor in retention_headings(comparison))
    return Contents(items=(*sizes, *sets, (_MADE, "How it was made")))


def _anchor(place: int, info: QuerySetInfo) -> str:
    # The number first: names that differ in odd characters alone still have files and anchors of their own.
    return f"set{place}-{text.slug(info.name)}".rstrip("-")


def _set_title(info: QuerySetInfo) -> str:
    return text.plain(info.title) or text.plain(info.name)


def _query_set(comparison: Comparison, info: QuerySetInfo, anchor: str) -> Iterator[Block]:
    size = text.count(len(info.queries), "query")
    if info.n_passages is not None:
        size += f" over {text.count(info.n_passages, 'passage')}"
    yield Paragraph(sentences=((Code(text.plain(info.name)), f": {size}."), *_footing(comparison, info)))
    cells = [cell for cell in comparison.cells if cell.query_set == info.name]
    if not cells or not info.measures:
        yield Paragraph(sentences=(("Nothing was measured on it.",),))
        return
    yield tables.result_table(comparison, info)
    yield from _differences(comparison, info)
    yield Heading(level=3, text="Pictures")
    yield from _pictures(comparison, info, anchor)
    yield from _extremes(comparison, info)


def _footing(comparison: Comparison, info: QuerySetInfo) -> Iterator[Sentence]:
    """Say what the figures of a table rest on, where it is not all the queries."""
    cell = next((cell for cell in comparison.cells if cell.query_set == info.name), None)
    counts = {measure: len(values) for measure, values in cell.values.items()} if cell else {}
    for n_queries in dict.fromkeys(count for count in counts.values() if count != len(info.queries)):
        names = ", ".join(text.plain(measure) for measure, count in counts.items() if count == n_queries)
        yield (f"{names}: over {n_queries:,} of the queries.",)
    if any(cell.ms_per_query for cell in comparison.cells if cell.query_set == info.name) and info.timed_k:
        hits = text.count(info.timed_k, "hit")
        yield (f"{tables.MS_COLUMN}: median of single queries, encoding included, {hits} each.",)


def _differences(comparison: Comparison, info: QuerySetInfo) -> Iterator[Block]:
    others = [system.name for system in comparison.systems if system.name != comparison.baseline]
    if not any(comparison.cell(info.name, name) for name in others):
        return
    baseline = Code(text.plain(comparison.baseline))
    if comparison.cell(info.name, comparison.baseline) is None:
        yield Paragraph(sentences=((baseline, " was not run on this query set: there are no differences to tell."),))
        return
    table = tables.difference_table(comparison, info)
    if table is not None:
        title = f"Against {text.plain(comparison.baseline)} on {text.plain(info.measures[0])}"
        yield Heading(level=3, text=title)
        yield table


def _pictures(comparison: Comparison, info: QuerySetInfo, anchor: str) -> Iterator[Block]:
    beside = (cost_picture(comparison, info, f"{anchor}-cost"), curve_picture(comparison, info, f"{anchor}-curves"))
    if beside[0] is None:
        yield Paragraph(sentences=(("No system was timed here: there is no picture of quality against time.",),))
    for group in (beside, (gains_picture(comparison, info, f"{anchor}-gains"),)):
        drawn: tuple[Picture, ...] = tuple(picture for picture in group if picture is not None)
        if drawn:
            yield Pictures(items=drawn)


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
        title = f"Queries that gain and lose most against {text.plain(comparison.baseline)}"
        yield Heading(level=3, text=title)
        yield from details


def _making(comparison: Comparison) -> Iterator[Block]:
    yield Heading(level=2, text="How it was made", anchor=_MADE)
    if comparison.skipped:
        yield Heading(level=3, text="Skipped")
        rows = [(s.query_set, s.system or "all", s.reason) for s in comparison.skipped]
        yield tables.text_table(("Query set", "System", "Why"), rows)
    if comparison.commands:
        yield Heading(level=3, text="Commands")
        yield Commands(lines=tuple(map(text.visible, comparison.commands)))
    yield Heading(level=3, text="Systems")
    systems = [(s.name, s.title, _settings(s.settings)) for s in comparison.systems]
    yield tables.text_table(("System", "What it is", "Settings"), systems)
    yield Heading(level=3, text="Query sets")
    sets = [
        (s.name, s.title, ", ".join(s.measures), f"{len(s.queries):,}", s.fingerprint[:_FINGERPRINT])
        for s in comparison.query_sets
    ]
    titles = ("Query set", "What it is", "Measures", "Queries", "Fingerprint")
    yield tables.text_table(titles, sets, code=("Fingerprint",))
    if comparison.cells:
        yield Heading(level=3, text="Runs")
        runs = [(c.query_set, c.system, c.run, c.fingerprint[:_FINGERPRINT]) for c in comparison.cells]
        yield tables.text_table(
            ("Query set", "System", "Run file", "Fingerprint"), runs, code=("Run file", "Fingerprint")
        )
    if comparison.environment:
        yield Heading(level=3, text="Environment")
        yield tables.text_table(("What", "Value"), list(_flat(comparison.environment)))


def _settings(settings: dict[str, Any]) -> str:
    return "; ".join(f"{name} = {found}" for name, found in _flat(settings))


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and texts, those within others as `outer.inner`."""
    for name, found in values.items():
        if isinstance(found, dict) and found:
            yield from _flat(found, f"{before}{name}.")
        else:
            shown: Callable[[Any], str] = str if isinstance(found, str) else _json
            yield f"{before}{name}", shown(found)


def _json(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False, default=str)
