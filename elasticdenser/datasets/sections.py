"""Sections of a document: its blocks of text under their headings, each of which becomes a passage."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from elasticdenser.datasets.records import Record, id_of_name

DOCUMENT_FIELDS = ("path", "modified", "heading", "page")
"""Fields that the records of documents have besides id, title and text, where they apply."""

_TITLE_SEPARATOR = " > "
_NO_WORD = re.compile(r"[^\w\s-]")
_GAP = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True)
class Block:
    """Heading, paragraph or other block of a document.

    Attributes:
        text: The text.
        line: Line in which it begins, from 1.
        level: Level of a heading, from 1; 0 for text.
        anchor: Anchor that the document itself gives to the heading, if any.
    """

    text: str
    line: int
    level: int = 0
    anchor: str = ""


@dataclass(slots=True)
class _Section:
    line: int
    headings: tuple[str, ...] = ()
    anchor: str = ""
    texts: list[str] = field(default_factory=list)


def section_records(
    blocks: Sequence[Block], prefix: str, *, title: str = "", name: str = "", fields: Mapping[str, Any] | None = None
) -> Iterator[tuple[int, Record]]:
    """Yield one record for each section that has text, with the line in which it begins.

    The text below the document's title has the document's own id, a section `PATH#ANCHOR`. The title of a section holds
    the headings above it: `Guide > Installation > Linux`. A document of headings alone is one record.

    Args:
        blocks: The document, in order.
        prefix: Its id.
        title: Its title; by default its first heading, if that is of level 1 or stands above all others.
        name: Title of a document that has none.
        fields: Further fields of each record.
    """
    heading = _title_heading(blocks)
    headings_alone = [block.text for block in blocks if block.level and block is not heading]
    sections = [section for section in _sections(blocks, heading, bool(title)) if section.texts]
    title = title or (heading.text if heading is not None else name)
    if not sections and blocks:
        sections = [_Section(blocks[0].line, texts=headings_alone)]
    for section in sections:
        yield (
            section.line,
            {
                **(fields or {}),
                "_id": f"{prefix}#{section.anchor}" if section.anchor else prefix,
                "title": _TITLE_SEPARATOR.join(dict.fromkeys(filter(None, (title, *section.headings)))),
                "text": "\n\n".join(section.texts),
                "heading": section.headings[-1] if section.headings else title,
            },
        )


def title_of_name(prefix: str) -> str:
    """Return the title of a document that has none: its file's name in words."""
    name = PurePosixPath(prefix).stem
    return _GAP.sub(" ", name).strip() or name


def _title_heading(blocks: Sequence[Block]) -> Block | None:
    levels = [block.level for block in blocks if block.level]
    if not levels or not (levels[0] == 1 or levels[0] < min(levels[1:], default=7)):
        return None
    return next(block for block in blocks if block.level)


def _sections(blocks: Sequence[Block], title: Block | None, has_other_title: bool) -> Iterator[_Section]:
    """Yield the sections in order; the title begins none, and stands above the others only if there is another one."""
    section = _Section(blocks[0].line if blocks else 1)
    above: list[tuple[int, str]] = []
    anchors: Counter[str] = Counter()
    for block in blocks:
        if not block.level:
            section.texts.append(block.text)
        elif block is title:
            section.headings = (block.text,) if has_other_title else ()
        else:
            yield section
            above = [(level, text) for level, text in above if level < block.level]
            above.append((block.level, block.text))
            anchor = _unique(id_of_name(block.anchor) if block.anchor else _slug(block.text), anchors)
            section = _Section(block.line, tuple(text for _, text in above), anchor)
    yield section


def _slug(heading: str) -> str:
    """Return the anchor that GitHub and most generators of pages give to a heading."""
    return re.sub(r"\s", "-", _NO_WORD.sub("", heading.strip().lower())) or "section"


def _unique(anchor: str, seen: Counter[str]) -> str:
    """Return an anchor, numbered if the document has it already: `usage`, `usage-1`, `usage-2`."""
    name, number = anchor, seen[anchor]
    while name in seen:
        number += 1
        name = f"{anchor}-{number}"
    seen[anchor] = number
    seen[name] += 0
    return name
