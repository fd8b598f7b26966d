"""What a report is made of, before it becomes Markdown or HTML."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A name or setting within a sentence, set as code."""

    text: str


Sentence = tuple[str | Code, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a table.

    Attributes:
        text: What it says.
        mark: Sign behind the text: better, worse, or none.
        small: A second line in small print.
        strong: Whether it is the best of its column.
        colour: Of the dot before the text; empty for none.
        notes: Numbers of the table's notes that belong to it, from 1.
        code: Whether to set it as code.
    """

    text: str
    mark: str = ""
    small: str = ""
    strong: bool = False
    colour: str = ""
    notes: tuple[int, ...] = ()
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """Head of a table's column; numbers are set flush right."""

    title: str
    is_number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, rows and numbered notes; each row has an entry for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading; those with an anchor are in the table of contents."""

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A paragraph, or the items of a list."""

    sentences: tuple[Sentence, ...]
    is_list: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture.

    Attributes:
        name: File name without its ending: letters, digits, `.` and `-`.
        svg: The whole file.
        title: What it shows.
        caption: How to read it.
        description: The same for those who cannot see it, with the figures.
    """

    name: str
    svg: str
    title: str
    caption: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures that stand beside each other where there is room."""

    items: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Details:
    """Something to unfold."""

    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Table of contents: pairs of anchor and text."""

    items: tuple[tuple[str, str], ...]


Block = Heading | Paragraph | Table | Pictures | Details | Commands | Contents
