"""Report as one HTML page that loads no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from elasticdenser.reports.blocks import (
    Block,
    Chart,
    Charts,
    Code,
    Commands,
    Contents,
    Details,
    Entry,
    Heading,
    Paragraph,
    Sentence,
    Table,
)
from elasticdenser.reports.page import PAGE
from elasticdenser.reports.palette import PAGE_COLOURS
from elasticdenser.reports.text import BETTER, WORSE

_MARKS = {BETTER: "better", WORSE: "worse"}
_CSS_COLOURS = {light: f"var(--{name})" for name, (light, _) in PAGE_COLOURS.items()}
"""Colours of charts and systems that the page replaces by its variables, which follow the reader's colour scheme."""

_POINTS_TO_PIXELS = 96 / 72
_MIN_CHART_SCALE = 0.6
"""A chart shrinks to this share of its width at most, so that its text stays readable; narrower screens scroll."""


def render(blocks: Sequence[Block], *, title: str) -> str:
    """Return the text of `report.html`."""
    head, foot = PAGE.split("{body}")
    return head.replace("{title}", escape(title)) + "\n".join(map(_block, blocks)) + foot


def _block(block: Block) -> str:
    match block:
        case Heading():
            anchor = f' id="{block.anchor}"' if block.anchor else ""
            return f"<h{block.level}{anchor}>{escape(block.text)}</h{block.level}>"
        case Paragraph():
            if block.is_list:
                return "<ul>" + "".join(f"<li>{_sentence(sentence)}</li>" for sentence in block.sentences) + "</ul>"
            return "\n".join(f"<p>{_sentence(sentence)}</p>" for sentence in block.sentences)
        case Table():
            return _table(block)
        case Charts():
            return f'<div class="charts">{"".join(map(_chart, block.items))}</div>'
        case Details():
            inner = "\n".join(_block(inner) for inner in block.blocks)
            return f"<details><summary>{escape(block.summary)}</summary>\n{inner}\n</details>"
        case Commands():
            return f"<pre><code>{escape(chr(10).join(block.lines))}</code></pre>"
        case Contents():
            links = "".join(f'<li><a href="#{anchor}">{escape(text)}</a></li>' for anchor, text in block.items)
            return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _sentence(sentence: Sentence) -> str:
    return "".join(f"<code>{escape(part.text)}</code>" if isinstance(part, Code) else escape(part) for part in sentence)


def _table(table: Table) -> str:
    kinds = ["number" if column.is_number else "text" for column in table.columns]
    heads = zip(kinds, table.columns, strict=True)
    head = "".join(f'<th scope="col" class="{kind}">{escape(column.title)}</th>' for kind, column in heads)
    rows = ("".join(map(_entry, row, kinds)) for row in table.rows)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>' + (
        f'\n<ol class="notes">{notes}</ol>' if notes else ""
    )


def _entry(entry: Entry, kind: str) -> str:
    text = escape(entry.text)
    if entry.code:
        text = f"<code>{text}</code>"
    if entry.strong:
        text = f"<strong>{text}</strong>"
    if entry.notes:
        text += f"<sup>{','.join(map(str, entry.notes))}</sup>"
    if entry.colour:
        colour = _CSS_COLOURS.get(entry.colour, entry.colour)
        text = f'<span class="system"><span class="dot" style="background:{colour}"></span>{text}</span>'
    if kind == "number":
        # Also without a mark, so that all figures of a column are aligned.
        text += f'<span class="mark {_MARKS.get(entry.mark, "")}">{entry.mark}</span>'
    if entry.small:
        text += f"<small>{escape(entry.small)}</small>"
    # The direction of a text from other sources depends on its language.
    return f'<td class="{kind}"{"" if kind == "number" else " dir=auto"}>{text}</td>'


def _chart(chart: Chart) -> str:
    caption = f"<strong>{escape(chart.title)}.</strong> {escape(chart.caption)}"
    return f"<figure><figcaption>{caption}</figcaption><div class='scroll'>{_inline_svg(chart)}</div></figure>"


def _inline_svg(chart: Chart) -> str:
    """Return the SVG of a chart as a part of the page, in the colours of the page."""
    head, body = chart.svg.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    if box is None:
        raise ValueError(f"got chart {chart.name} without viewBox, expected an SVG from svg_of")
    width = float(box[1].split()[2]) * _POINTS_TO_PIXELS
    for colour, variable in _CSS_COLOURS.items():
        body = body.replace(f": {colour}", f": {variable}")
    body = body.replace("xlink:href", "href")
    size = f"max-width:{width:.0f}px;min-width:{_MIN_CHART_SCALE * width:.0f}px"
    return (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(chart.description)}" style="{size}">'
        f"<title>{escape(chart.title)}</title>{body.strip()}"
    )
