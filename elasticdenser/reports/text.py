"""Formatting of names, numbers and foreign texts in reports."""

from __future__ import annotations

import re
import unicodedata

MISSING = "–"
BETTER, WORSE = "▲", "▼"

_ALLOWED_CONTROLS = "\u200c\u200d\t\n"
"""Joiners, which change letters and emoji; tabs and line ends."""


def plain(text: str) -> str:
    """Return `text` on one line, without control characters and other invisible ones."""
    return " ".join(visible(text).split())


def visible(text: str) -> str:
    """Return `text` with spaces instead of invisible characters, except tabs and line ends."""
    return "".join(" " if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character)[0] == "C" and character not in _ALLOWED_CONTROLS


def shortened(text: str, length: int) -> str:
    """Return `text` as `plain` does, cut to `length` characters."""
    text = plain(text)
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def short_name(name: str, length: int = 22) -> str:
    """Return a name for a chart: a long one loses its middle, as long names usually differ at their ends."""
    name = plain(name)
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"


def slug(text: str) -> str:
    """Return a form of `text` that can be part of file names, ids and addresses."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower())[:40].strip("-.")


def count(number: int, noun: str) -> str:
    """Return a number with a noun, such as `1 query` or `2,000 queries`."""
    if number != 1:
        noun = noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun}"


def value(number: float) -> str:
    """Return the value of a measure as text."""
    return f"{number:.4f}"


def percent(share: float | None) -> str:
    """Return a share in per cent."""
    return MISSING if share is None else f"{100 * share:.1f}%"


def signed(number: float, digits: int = 4) -> str:
    """Return a difference with its sign."""
    text = f"{abs(number):.{digits}f}"
    if not text.strip("0."):
        return text
    return ("+" if number > 0 else "−") + text


def interval(low: float, high: float, *, has_sign: bool = False) -> str:
    """Return an interval as text; ends with a sign need another separator than a dash."""
    return f"{signed(low)} … {signed(high)}" if has_sign else f"{low:.4f}–{high:.4f}"


def p_value(p: float) -> str:
    """Return a p-value as text; with 10,000 resamples the test does not distinguish values below 0.001 well."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def milliseconds(ms: float | None) -> str:
    """Return a time with about three digits."""
    if ms is None:
        return MISSING
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:,.0f}"
