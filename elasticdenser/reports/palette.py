"""Colours of charts and pages, and the style of each system, which is the same in every chart and table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdenser.evaluation.comparison import Comparison

INK = "#24292f"
MUTED = "#656d76"
GRID = "#e4e7ea"
PAPER = "#ffffff"
BLUE = "#0072b2"

PAGE_COLOURS = {
    "ink": (INK, "#e6edf3"),
    "muted": (MUTED, "#9198a1"),
    "grid": (GRID, "#2b3138"),
    "paper": (PAPER, "#0f1318"),
    "soft": ("#f6f8fa", "#181d24"),
    "link": ("#0969da", "#6cb2ff"),
    "better": ("#0a7d4f", "#4cc38a"),
    "worse": ("#b5470b", "#f0883e"),
    "blue": (BLUE, "#4aa3e0"),
}
"""Name -> colour in the light and in the dark colour scheme of the HTML page; charts in the page follow it."""

SERIES_COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of Okabe and Ito, which people with any colour vision can distinguish, without black, which is the
baseline's, and without yellow, which is too faint on white."""

SERIES_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)))
SERIES_MARKERS = ("s", "^", "D", "v", "P", "X", "p")
"""Seven markers and six colours have no common divisor, so that 42 systems differ in colour or marker."""


@dataclass(frozen=True, kw_only=True)
class SystemStyle:
    """Colour and marker of a system, and the options of matplotlib for its lines."""

    colour: str
    marker: str
    line: dict[str, Any]


def system_styles(comparison: Comparison) -> dict[str, SystemStyle]:
    """Return system name -> style; the baseline has the colour of text, the others get colours in their order."""
    # A broad band, so that the line of a system with the same values stays visible on it.
    band = {"color": INK, "linewidth": 4.5, "alpha": 0.3, "solid_capstyle": "round", "zorder": 2}
    styles = {comparison.baseline: SystemStyle(colour=INK, marker="o", line=band)}
    others = (system.name for system in comparison.systems if system.name != comparison.baseline)
    for number, name in enumerate(others):
        colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
        marker = SERIES_MARKERS[number % len(SERIES_MARKERS)]
        line = {
            "color": colour,
            "linewidth": 1.5,
            "linestyle": SERIES_DASHES[number % len(SERIES_DASHES)],
            "marker": marker,
            "markersize": 4.5,
            "zorder": 3,
        }
        styles[name] = SystemStyle(colour=colour, marker=marker, line=line)
    return styles
