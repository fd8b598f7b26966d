"""Markdown (CommonMark with tables), cut into sections at its headings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from elasticdenser.datasets.documents import read_document
from elasticdenser.datasets.front_matter import split_front_matter
from elasticdenser.datasets.html_blocks import html_blocks, parse_html
from elasticdenser.datasets.records import Record
from elasticdenser.datasets.schema import Schema
from elasticdenser.datasets.sections import Block, section_records, title_of_name

if TYPE_CHECKING:
    from markdown_it.token import Token


class Markdown:
    """Sections of a Markdown file; a `RecordFormat`. Front matter becomes fields, and its `title` that of the file."""

    name: ClassVar[str] = "markdown"
    suffixes: ClassVar[tuple[str, ...]] = (".md", ".markdown")
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = True

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record]]:
        """Yield the sections of a file."""
        fields, text = split_front_matter(read_document(path))
        title = fields.get("title")
        yield from section_records(
            list(markdown_blocks(text)),
            prefix,
            title="" if title is None or isinstance(title, bool | list) else str(title).strip(),
            name=title_of_name(prefix),
            fields=fields,
        )


def markdown_blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a Markdown text without its markup: links are their text, and pictures their description."""
    from markdown_it import MarkdownIt

    level = line = 0
    row: list[str] | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        line = token.map[0] + 1 if token.map else line
        content = ""
        if token.type == "heading_open" and token.level == 0:  # one within a list or a quotation is text
            level = int(token.tag[1:])
            continue
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            content, row = " | ".join(filter(None, row or [])), None
        elif row is not None:
            row.append(_inline_text(token.children or []))
        elif token.type == "html_block":
            yield from _html_blocks(token.content, line)
        else:
            content = _block_text(token)
        if content:
            yield Block(content, line, level)
        level = 0


def _block_text(token: Token) -> str:
    if token.type == "inline":
        return _inline_text(token.children or [])
    return token.content.rstrip() if token.type in ("fence", "code_block") else ""


def _html_blocks(html: str, line: int) -> Iterator[Block]:
    page = parse_html(html)
    for block in () if page is None else html_blocks(page):
        yield replace(block, line=line)


def _inline_text(tokens: list[Token]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "code_inline", "text_special"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak") or token.content.startswith("<br"):
            parts.append(" ")
        elif token.type == "image":
            parts.append(_inline_text(token.children or []))
    return "".join(parts).strip()
