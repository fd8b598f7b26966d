"""Report in the Markdown of GitHub."""

from __future__ import annotations

import re
from collections.abc import Sequence

from elasticdenser.reports.blocks import (
    Block,
    Chart,
    Charts,
    Code,
    Column,
    Commands,
    Contents,
    Details,
    Entry,
    Heading,
    Paragraph,
    Sentence,
    Table,
)

CHART_FOLDER = "pictures"


def render(blocks: Sequence[Block]) -> str:
    """Return the text of `report.md`."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def chart_files(blocks: Sequence[Block]) -> dict[str, str]:
    """Return path -> content of the charts that the report refers to."""
    groups = (block.items for block in blocks if isinstance(block, Charts))
    return {_chart_path(chart): chart.svg for group in groups for chart in group}


def escape(text: str) -> str:
    """Return Markdown that shows `text` as it is, in tables too."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore within a word has no meaning in Markdown, and without a backslash names are easier to read.
    text = re.sub(r"[\\`*\[\]|$~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
    # Addresses stay text: GitHub would make links of them.
    return re.sub(r"(?i)(https?|ftp)://", r"\1&#58;//", text).replace("www.", "www&#46;")


def _block(block: Block) -> str:
    match block:
        case Heading():
            anchor = f'<a id="{block.anchor}"></a>\n\n' if block.anchor else ""
            return f"{anchor}{'#' * block.level} {escape(block.text)}"
        case Paragraph():
            return "\n".join(("- " if block.is_list else "") + _sentence(sentence) for sentence in block.sentences)
        case Table():
            return _table(block)
        case Charts():
            return "\n\n".join(map(_chart, block.items))
        case Details():
            inner = "\n\n".join(_block(inner) for inner in block.blocks)
            return f"<details><summary>{_html(block.summary)}</summary>\n\n{inner}\n\n</details>"
        case Commands():
            fence = "`" * max(3, 1 + max(len(run) for line in (*block.lines, "") for run in re.findall("`*", line)))
            return "\n".join((f"{fence}sh", *block.lines, fence))
        case Contents():
            return "\n".join(("Contents:\n", *(f"- [{escape(text)}](#{anchor})" for anchor, text in block.items)))


def _sentence(sentence: Sentence) -> str:
    return "".join(_code(part.text) if isinstance(part, Code) else escape(part) for part in sentence)


def _table(table: Table) -> str:
    lines = [_row([escape(column.title) for column in table.columns]), _row([_rule(c) for c in table.columns])]
    lines += [_row([_entry(entry) for entry in row]) for row in table.rows]
    notes = [f"<sup>{number}</sup> {escape(note)}" for number, note in enumerate(table.notes, start=1)]
    return "\n".join(lines) + ("\n\n" + "<br>\n".join(notes) if notes else "")


def _row(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _rule(column: Column) -> str:
    return "---:" if column.is_number else ":---"


def _entry(entry: Entry) -> str:
    text = _code(entry.text) if entry.code else escape(entry.text)
    if entry.strong:
        text = f"**{text}**"
    text += f" {entry.mark}" if entry.mark else ""
    text += f" <sup>{','.join(map(str, entry.notes))}</sup>" if entry.notes else ""
    # The smallest print that GitHub has in tables.
    return text + (f"<br><sub>{escape(entry.small)}</sub>" if entry.small else "")


def _code(text: str) -> str:
    """Return text as code: in backticks, or as HTML if it has characters that end code or a column."""
    return f"`{text}`" if re.fullmatch(r"[\w./:= -]+", text) else f"<code>{escape(text)}</code>"


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _chart(chart: Chart) -> str:
    alt = escape(chart.description)
    return f"**{escape(chart.title)}.** {escape(chart.caption)}\n\n![{alt}]({_chart_path(chart)})"


def _chart_path(chart: Chart) -> str:
    return f"{CHART_FOLDER}/{chart.name}.svg"
