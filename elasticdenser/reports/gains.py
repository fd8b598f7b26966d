"""The picture of each system's gains and losses against the baseline, query by query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from elasticdenser.evaluation.comparison import Comparison, QuerySetInfo
from elasticdenser.evaluation.significance import paired_differences
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Picture
from elasticdenser.reports.figures import (
    NORMAL,
    POINTS_PER_INCH,
    SMALL,
    axes_with_margins,
    new_figure,
    report_style,
    svg_of,
)
from elasticdenser.reports.palette import INK, MUTED, looks_of

_WIDTH, _PANEL_WIDTH, _PANEL_HEIGHT = 10.9, 3.4, 1.9
_COLUMNS = 4
# Differences are drawn in that many steps of the largest: finer than can be seen, and files stay small.
_STEPS = 250


def gains_picture(comparison: Comparison, info: QuerySetInfo, name: str) -> Picture | None:
    """Return a panel for each system with its differences, sorted; None without a baseline or other systems."""
    measure = info.measures[0]
    sorted_differences = {
        system: np.sort(list(differences.values()))[::-1]
        for system, differences in _all_differences(comparison, info, measure).items()
    }
    if not sorted_differences:
        return None
    looks = looks_of(comparison)
    largest = max(float(np.abs(values).max(initial=0)) for values in sorted_differences.values()) or 1.0
    with report_style(name):
        figure, panels = _panels(len(sorted_differences))
        for place, ((system, values), axes) in enumerate(zip(sorted_differences.items(), panels, strict=True)):
            axes.set_ylim(-1.08 * largest, 1.08 * largest)
            _draw(axes, values, largest, looks[system].colour)
            _title(axes, text.short_name(system, 30), values)
            axes.tick_params(labelleft=place % _COLUMNS == 0)
            axes.set_ylabel(f"Δ {text.plain(measure)}" if place % _COLUMNS == 0 else "")
            is_lowest = place + _COLUMNS >= len(sorted_differences)
            axes.set_xlabel("queries, sorted" if is_lowest else "")
            axes.tick_params(labelbottom=is_lowest)
        svg = svg_of(figure, name)
    title = f"{text.plain(measure)} of each query against {text.plain(comparison.baseline)}"
    counts = (f"{text.plain(system)} {_counts(values)}" for system, values in sorted_differences.items())
    caption = "Each query's difference, largest gain first; all panels have the same scales."
    return Picture(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {'; '.join(counts)}.")


def _all_differences(comparison: Comparison, info: QuerySetInfo, measure: str) -> dict[str, dict[str, float]]:
    baseline = comparison.cell(info.name, comparison.baseline)
    if baseline is None or not baseline.values.get(measure):
        return {}
    cells = {system.name: comparison.cell(info.name, system.name) for system in comparison.systems}
    return {
        name: paired_differences(cell, baseline, measure)
        for name, cell in cells.items()
        if cell is not None and cell is not baseline and cell.values.get(measure)
    }


def _panels(number: int) -> tuple[Figure, list[Axes]]:
    columns = min(number, _COLUMNS)
    rows = math.ceil(number / columns)
    width = _WIDTH if columns > 2 else 1 + _PANEL_WIDTH * columns
    height = rows * _PANEL_HEIGHT + 0.25
    figure = new_figure(width, height)
    full_width, full_height = width * POINTS_PER_INCH, height * POINTS_PER_INCH
    panel_width = (full_width - 50 - 8) / columns
    panel_height = (full_height - 30) / rows
    panels: list[Axes] = []
    for place in range(number):
        row, column = divmod(place, columns)
        left = 50 + column * panel_width
        bottom = full_height - (row + 1) * panel_height
        margins = {"left": left, "right": full_width - left - panel_width + 14, "bottom": bottom}
        panels.append(axes_with_margins(figure, **margins, top=row * panel_height + 34))
    return figure, panels


def _draw(axes: Axes, values: NDArray[np.float64], largest: float, colour: str) -> None:
    steps = np.rint(values / largest * _STEPS)
    # A tiny difference is drawn as the smallest, not as none.
    steps = np.where(steps == 0, np.sign(values), steps)
    starts = np.flatnonzero(np.diff(steps, prepend=np.inf))
    edges = np.append(starts, len(steps))
    heights = steps[starts] / _STEPS * largest
    for is_side in (heights > 0, heights < 0):
        # One side at a time: its outline, which keeps a few queries of thousands visible, must not cross the rest.
        if is_side.any():
            places = np.flatnonzero(is_side)
            side_edges = edges[places[0] : places[-1] + 2]
            axes.stairs(heights[places], side_edges, fill=True, facecolor=colour, edgecolor=colour, linewidth=1)
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    # A margin: the outline of the last few queries would lie half outside.
    axes.set_xlim(-0.01 * len(values), 1.01 * len(values))
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], symmetric=True))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda number, _: text.signed(number, 2).rstrip("0").rstrip(".") or "0")
    )
    axes.xaxis.set_major_locator(FixedLocator([0, len(values)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    axes.xaxis.get_majorticklabels()[0].set_horizontalalignment("left")
    axes.xaxis.get_majorticklabels()[-1].set_horizontalalignment("right")
    axes.spines["bottom"].set_visible(False)


def _title(axes: Axes, name: str, values: NDArray[np.float64]) -> None:
    left, _, _, top = axes.bbox.extents
    style: dict[str, Any] = {"xycoords": "figure points", "annotation_clip": False, "va": "baseline"}
    axes.annotate(name, (left, top + 16), fontsize=NORMAL, fontweight="bold", color=INK, **style)
    axes.annotate(_counts(values), (left, top + 5), fontsize=SMALL, color=MUTED, **style)


def _counts(values: Sequence[float] | NDArray[np.float64]) -> str:
    signs = np.sign(values)
    numbers = (int(np.sum(signs == sign)) for sign in (1, 0, -1))
    return " · ".join(f"{n:,} {word}" for n, word in zip(numbers, ("better", "equal", "worse"), strict=True))
