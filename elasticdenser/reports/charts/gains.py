"""Chart of the gains and losses of each system against the baseline, query by query."""

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
from elasticdenser.reports.blocks import Chart
from elasticdenser.reports.charts.style import (
    FULL_WIDTH,
    NORMAL,
    POINTS_PER_INCH,
    SMALL,
    axes_with_margins,
    new_figure,
    report_style,
    svg_of,
)
from elasticdenser.reports.palette import INK, MUTED, system_styles

_PANEL_WIDTH, _PANEL_HEIGHT = 3.4, 2.1
"""Inches; panels are narrower where there are more than two columns."""

_COLUMNS = 4
_AXIS_WIDTH, _AXIS_HEIGHT = 50.0, 18.0
"""Points for the labels on the left of the first column and below each row."""

_RIGHT_MARGIN, _PANEL_GAP, _HEADING_HEIGHT = 8.0, 14.0, 34.0
"""Points on the right of the last panel, between two panels, and for the heading of a panel."""

_STEPS = 250
"""Differences are drawn in steps of a 250th of the largest: finer steps cannot be seen, and would make files larger."""


def gains_chart(comparison: Comparison, info: QuerySetInfo, name: str) -> Chart | None:
    """Return the chart of sorted differences, a panel for each system; None without a baseline or another system."""
    measure = info.measures[0]
    sorted_differences = {
        system: np.sort(list(differences.values()))[::-1]
        for system, differences in _all_differences(comparison, info, measure).items()
    }
    if not sorted_differences:
        return None
    styles = system_styles(comparison)
    largest = max(float(np.abs(values).max(initial=0)) for values in sorted_differences.values()) or 1.0
    with report_style(name):
        figure, panels = _make_panels(len(sorted_differences))
        for number, ((system, values), axes) in enumerate(zip(sorted_differences.items(), panels, strict=True)):
            axes.set_ylim(-1.08 * largest, 1.08 * largest)
            _draw_differences(axes, values, largest, styles[system].colour)
            _write_heading(axes, text.short_name(system, 30), values)
            axes.tick_params(labelleft=number % _COLUMNS == 0)
            axes.set_ylabel(f"Δ {text.plain(measure)}" if number % _COLUMNS == 0 else "")
        svg = svg_of(figure, name)
    title = f"Difference in {text.plain(measure)} from {text.plain(comparison.baseline)} for each query"
    counts = (f"{text.plain(system)} {_counts(values)}" for system, values in sorted_differences.items())
    caption = "Queries are sorted by their difference, largest gain first. All panels have the same vertical scale."
    return Chart(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {'; '.join(counts)}.")


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


def _make_panels(n_panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(n_panels, _COLUMNS)
    rows = math.ceil(n_panels / columns)
    width = FULL_WIDTH if columns > 2 else 1 + _PANEL_WIDTH * columns
    height = rows * _PANEL_HEIGHT
    figure = new_figure(width, height)
    full_width, full_height = width * POINTS_PER_INCH, height * POINTS_PER_INCH
    panel_width = (full_width - _AXIS_WIDTH - _RIGHT_MARGIN) / columns
    panel_height = full_height / rows
    panels: list[Axes] = []
    for number in range(n_panels):
        row, column = divmod(number, columns)
        left = _AXIS_WIDTH + column * panel_width
        margins = {
            "left": left,
            "right": full_width - left - panel_width + _PANEL_GAP,
            "bottom": full_height - (row + 1) * panel_height + _AXIS_HEIGHT,
            "top": row * panel_height + _HEADING_HEIGHT,
        }
        panels.append(axes_with_margins(figure, **margins))
    return figure, panels


def _draw_differences(axes: Axes, values: NDArray[np.float64], largest: float, colour: str) -> None:
    steps = np.rint(values / largest * _STEPS)
    # A tiny difference is drawn as the smallest step, so that it does not look like none.
    steps = np.where(steps == 0, np.sign(values), steps)
    starts = np.flatnonzero(np.diff(steps, prepend=np.inf))
    edges = np.append(starts, len(steps))
    heights = steps[starts] / _STEPS * largest
    for is_side in (heights > 0, heights < 0):
        # Gains and losses are drawn separately: the outline, which keeps a few queries among thousands visible, must
        # not cross the queries without a difference.
        if is_side.any():
            positions = np.flatnonzero(is_side)
            side_edges = edges[positions[0] : positions[-1] + 2]
            axes.stairs(heights[positions], side_edges, fill=True, facecolor=colour, edgecolor=colour, linewidth=1)
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    # A margin, so that the outline of the outermost queries lies inside.
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
    # Between the two numbers, on their line.
    place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, -6.5), "textcoords": "offset points"}
    axes.annotate("queries, sorted", (0.5, 0), ha="center", va="top", color=MUTED, **place)


def _write_heading(axes: Axes, name: str, values: NDArray[np.float64]) -> None:
    left, _, _, top = axes.bbox.extents
    style: dict[str, Any] = {"xycoords": "figure points", "annotation_clip": False, "va": "baseline"}
    axes.annotate(name, (left, top + 16), fontsize=NORMAL, fontweight="bold", color=INK, **style)
    axes.annotate(_counts(values), (left, top + 5), fontsize=SMALL, color=MUTED, **style)


def _counts(values: Sequence[float] | NDArray[np.float64]) -> str:
    signs = np.sign(values)
    numbers = (int(np.sum(signs == sign)) for sign in (1, 0, -1))
    return " · ".join(f"{n:,} {word}" for n, word in zip(numbers, ("better", "equal", "worse"), strict=True))
