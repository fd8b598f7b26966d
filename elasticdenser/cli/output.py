"""Output of the command line: results go to stdout; progress, notes and errors go to stderr."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from ir_measures import ScoredDoc
    from rich.text import Text

    from elasticdenser.datasets import Passage
    from elasticdenser.retrieval.snippets import Snippet

_SECONDS_BETWEEN_LINES = 10.0
_MAX_VALUE = 60
"""Characters of a value of metadata in a table."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Control characters, which a terminal would execute."""


_ASCII = {
    **{"▲": "+", "▼": "-", "…": "...", "≤": "<=", "≥": ">=", "×": "x", "·": "-", "→": "->"},
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
}
"""Characters that have a like in ASCII, beside letters with accents."""


def show_any_text() -> None:
    """Let stdout and stderr take any text, also where the terminal has but ASCII or Latin-1, or where they are closed.

    Characters that the terminal lacks are shown as similar ones, or as `?`.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed, as by >&-: the next file that is opened would take its place
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "w" if descriptor else "r", encoding="utf-8"))
    codecs.register_error("elasticdenser.similar", _similar_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and (stream.errors != "surrogateescape" or not is_utf8(stream)):
            stream.reconfigure(errors="elasticdenser.similar")


def _similar_characters(error: UnicodeError) -> tuple[str, int]:
    """Return a replacement for the characters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    shown = ""
    for character in error.object[error.start : error.end]:
        without_accents = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        shown += _ASCII.get(character) or without_accents or "?"
    return shown, error.end


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON in one line, or indented; as ASCII where stdout is not UTF-8, as JSON must be."""
    print_lines(json.dumps(value, ensure_ascii=not is_utf8(sys.stdout), indent=indent))


def is_utf8(stream: Any) -> bool:
    """Return whether a text stream is encoded as UTF-8."""
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"


def print_lines(text: str) -> None:
    """Print lines to stdout."""
    # Not with `typer.echo`, which takes a terminal of ASCII to be one of UTF-8.
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    sys.stdout.flush()


def note(message: str) -> None:
    """Print a message to stderr."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


class _NoteHandler(logging.Handler):
    """Logging handler that prints each record as a note: its message, and the traceback that belongs to it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            note(f"{record.levelname.lower()}: {self.format(record)}")
        except Exception:
            self.handleError(record)


def show_warnings() -> None:
    """Print the warnings of this package to stderr, independently of how other packages configure logging."""
    logger = logging.getLogger("elasticdenser")
    logger.addHandler(_NoteHandler(logging.WARNING))
    logger.propagate = False


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show progress on stderr: bars with rate and time left on a terminal, otherwise a line every ten seconds."""
    if not sys.stderr.isatty():
        yield _ProgressLines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as display:
        tasks: dict[str, tuple[TaskID, int, float]] = {}

        def update(activity: str, done: int, total: int) -> None:
            if activity not in tasks:
                task = display.add_task(activity, total=total or None, completed=done, rate="")
                tasks[activity] = (task, done, time.monotonic())
            task, first, started = tasks[activity]
            elapsed = time.monotonic() - started
            rate = f"{(done - first) / elapsed:,.0f}/s" if elapsed > 0.5 and done > first else ""
            display.update(task, completed=done, total=total or None, rate=rate)

        yield update


def with_progress(hits: Iterable[ScoredDoc], n_queries: int, activity: str, progress: Progress) -> Iterator[ScoredDoc]:
    """Yield the hits, and report the number of queries whose hits have begun."""
    n_begun, last_query_id = 0, None
    for hit in hits:
        if hit.query_id != last_query_id:
            last_query_id = hit.query_id
            n_begun += 1
            progress(activity, n_begun, n_queries)
        yield hit


class _ProgressLines:
    """Progress as lines of text, for logs."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, int]] = {}
        self._last = time.monotonic()

    def __call__(self, activity: str, done: int, total: int) -> None:
        now = time.monotonic()
        started, first = self._started.setdefault(activity, (now, done))
        if not done:
            return
        if now - self._last < _SECONDS_BETWEEN_LINES and done != total:
            return
        if done == total and now - started < 1:
            return
        self._last = now
        rate = (done - first) / max(now - started, 1e-9)
        left = f", {(total - done) / rate:,.0f} s left" if total and rate > 0 else ""
        of_total = f" of {total:,}" if total else ""
        note(f"{activity}: {done:,}{of_total}, {rate:,.0f}/s{left}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, numeric: int = 0) -> None:
    """Print a table to stdout.

    Args:
        title: Line above the table.
        columns: Headings.
        rows: Cells as text, printed without interpreting markup, or in styles of their own.
        numeric: Number of leading columns that are right-aligned and never wrapped.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        if number < numeric:
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    # A pipe has no width, but very long lines are hard to read.
    Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False, highlight=False).print(table)


def aligned(cell: str) -> str:
    """Pad the cell of a value that has no mark, so that digits are aligned."""
    return cell if cell.endswith(("▲", "▼")) else f"{cell}  "


def can_draw() -> bool:
    """Return whether charts can be drawn here; if not, a note says what to install."""
    from elasticdenser.lazy_imports import is_installed

    if is_installed("matplotlib", "scipy"):
        return True
    from elasticdenser.requirements import pip_install

    note(f"no chart is drawn: that needs the extra 'eval': {pip_install('eval')}")
    return False


def print_significance(baseline: str) -> None:
    """Print the line below a table with marks."""
    from elasticdenser.reports.run_tables import SIGNIFICANCE

    print_lines(f"▲ better, ▼ worse than {baseline}: {SIGNIFICANCE}")


def hit_rows(
    hits: Sequence[tuple[float, str, Passage | None]], words: int = 30, snippets: Sequence[Snippet | None] = ()
) -> list[list[str | Text]]:
    """Return table rows (rank, score, id, passage) of hits.

    Args:
        hits: Score, id and passage of each hit.
        words: Words of a text after which it is cut.
        snippets: Sentence of each hit to show instead of the beginning of its text.
    """
    rows: list[list[str | Text]] = []
    for rank, ((score, doc_id, passage), snippet) in enumerate(zip_longest(hits, snippets), 1):
        title = text = ""
        if passage is not None:
            title = "" if passage.title in ("", doc_id) else f"{_CONTROL.sub(' ', passage.title)}: "
            text = _CONTROL.sub(" ", passage.text)
        if snippet is None:
            text_words = text.split()
            shown: str | Text = title + " ".join(text_words[:words]) + (" ..." if len(text_words) > words else "")
        else:
            shown = _with_bold_words(title, text, snippet)
        rows.append([str(rank), f"{score:.3f}", doc_id, shown])
    return rows


def metadata_cell(metadata: Mapping[str, Any]) -> str:
    """Return metadata for a cell of a table: a field on each line."""
    lines = []
    for name, value in metadata.items():
        shown = ", ".join(map(_shown_value, value)) if isinstance(value, list) else _shown_value(value)
        lines.append(_CONTROL.sub(" ", f"{name}: {shown}"))
    return "\n".join(lines)


def _shown_value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}..."


def _with_bold_words(title: str, text: str, snippet: Snippet) -> Text:
    """Return a title and the sentence of a snippet, in which words of the query are bold."""
    from rich.text import Text

    shown = Text(title + text[snippet.start : snippet.end])
    for start, end in snippet.words:
        shown.stylize("bold", len(title) + start - snippet.start, len(title) + end - snippet.start)
    return shown
