"""The look of each system, the same in every picture and table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdenser.evaluation.comparison import Comparison

# Colours that a page exchanges in its dark scheme.
INK = "#24292f"
MUTED = "#656d76"
GRID = "#e4e7ea"
PAPER = "#ffffff"
BLUE = "#0072b2"

# Okabe and Ito's colours for all kinds of colour vision, without black (the baseline) and yellow (too faint on white).
_COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Counts without a common divisor: colour and marker together repeat after 42 systems only.
_MARKERS = ("s", "^", "D", "v", "P", "X", "p")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colour and marker of a system, and its lines in matplotlib's terms."""

    colour: str
    marker: str
    line: dict[str, Any]


def looks_of(comparison: Comparison) -> dict[str, Look]:
    """Return system name -> look; the baseline is ink, the others take colours in their order."""
    # A broad band, on which the lines of systems that equal the baseline still show.
    band = {"color": INK, "linewidth": 4.5, "alpha": 0.3, "solid_capstyle": "round", "zorder": 2}
    looks = {comparison.baseline: Look(colour=INK, marker="o", line=band)}
    others = (system.name for system in comparison.systems if system.name != comparison.baseline)
    for place, name in enumerate(others):
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        dashes = _DASHES[place % len(_DASHES)]
        line = {
            "color": colour,
            "linewidth": 1.5,
            "linestyle": dashes,
            "marker": marker,
            "markersize": 4.5,
            "zorder": 3,
        }
        looks[name] = Look(colour=colour, marker=marker, line=line)
    return looks
