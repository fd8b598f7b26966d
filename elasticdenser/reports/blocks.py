"""Building blocks of a report, independent of Markdown and HTML."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """Name or setting within a sentence, shown as code."""

    text: str


Sentence = tuple[str | Code, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Entry of a table.

    Attributes:
        text: Text of the entry.
        mark: Sign after the text, for better or worse; empty for none.
        small: Second line in small print.
        strong: Whether the entry is in bold, as the best of its column.
        colour: Colour of a dot before the text; empty for none.
        notes: Numbers, from 1, of the notes of the table that belong to the entry.
        code: Whether the text is shown as code.
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
    """Heading of a column; numbers are aligned to the right."""

    title: str
    is_number: bool = True


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table of columns, rows and numbered notes; each row has an entry for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Heading; those with an anchor are in the table of contents."""

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Paragraph, or the items of a list."""

    sentences: tuple[Sentence, ...]
    is_list: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Chart with its texts.

    Attributes:
        name: File name without suffix: letters, digits, `.` and `-`.
        svg: Content of the SVG file.
        title: Subject of the chart.
        caption: Help for reading the chart.
        description: Text alternative with the figures, for readers who cannot see the chart.
    """

    name: str
    svg: str
    title: str
    caption: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Charts:
    """Charts that are shown side by side if there is room."""

    items: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class Details:
    """Blocks under a summary that the reader can unfold."""

    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Table of contents: pairs of anchor and text."""

    items: tuple[tuple[str, str], ...]


Block = Heading | Paragraph | Table | Charts | Details | Commands | Contents
