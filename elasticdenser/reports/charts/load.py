"""Chart of a load over time, and of its answers: rate, level that answered, latency and quality, beside a table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.summary import Summary, Timeline
from elasticdenser.reports.charts.load_rows import (
    LoadLine,
    draw_latency,
    draw_levels,
    draw_quality,
    draw_rate,
    shade_overload,
)
from elasticdenser.reports.charts.load_table import TABLE_LINE_HEIGHT, write_load_table
from elasticdenser.reports.charts.style import POINTS_PER_INCH, SMALL, new_figure, report_style, svg_of
from elasticdenser.reports.palette import INK, MUTED, PAGE_COLOURS

_WIDTH = 9.0
"""Inches: at a width of 800 pixels the smallest text is 10 pixels high."""

_TEXT_LEFT, _ROWS_LEFT, _ROWS_RIGHT = 0.012, 0.07, 0.665
"""Left end of the title, and both ends of the rows, as shares of the width; the table is on the right of the rows."""

_TITLE_TOP, _TITLE_LINE, _WARNING_LINE, _ROWS_GAP, _AXIS, _NOTE = 9.0, 16.0, 13.0, 30.0, 38.0, 16.0
"""Points above the title, for a line of the title and of a warning, from there to the rows, for the labels of the axis
of time, and for the note below them."""

_TITLE_CHARACTERS, _WARNING_CHARACTERS = 76, 120
"""Length of a line of the title, and of a warning."""

_MIN_ROWS_HEIGHT, _HEIGHT_ABOVE_TABLE = 492.0, 262.0
"""Points for all rows, and for the rows above the table."""

_LINE_STYLES = (
    {"color": INK, "linewidth": 3.0, "alpha": 0.8},
    {"color": "#d55e00", "linewidth": 1.3},
    {"color": "#cc79a7", "linewidth": 1.3},
)
"""The line of the first policy is wide, so that it stays visible below others; no line has the colour of a level."""


def draw_load(
    folder: Path,
    summaries: Sequence[Summary],
    timelines: Mapping[str, Timeline],
    profile: Profile,
    *,
    workers: int,
    deadline_s: float,
    title: str,
    name: str = "simulation",
    simulated: Mapping[str, Summary] | None = None,
    warnings: Sequence[str] = (),
) -> list[Path]:
    """Draw the chart of a load as SVG and PNG, and return their paths.

    Args:
        folder: Existing folder for the files.
        summaries: A summary for each policy; the levels of the first one are shown over time, and all are in the
            table. `shown_policies` tells which ones have lines.
        timelines: Policy -> its timeline.
        profile: The levels.
        workers: Number of workers; 0 leaves out the capacity of the levels.
        deadline_s: Deadline of each request.
        title: Description of the load.
        name: Name of the files.
        simulated: Policy -> its simulated summary, if `summaries` are measured.
        warnings: Doubts about the figures, written below the title.
    """
    policies = shown_policies(summaries)
    styles = dict(zip(policies, _LINE_STYLES, strict=False))
    lines = [LoadLine(timelines[policy], style) for policy, style in styles.items()]
    first, capacity_per_s = lines[0].timeline, workers * profile.levels[0].capacity_per_s()
    table = [(summary, (simulated or {}).get(summary.policy)) for summary in summaries]
    with report_style(name):
        n_table_lines = 2 + sum(2 if simulation else 1 for _, simulation in table)
        figure, rows = _make_rows(title, warnings, _gap_note(lines), n_table_lines)
        draw_rate(rows[0], first, profile, workers)
        draw_levels(rows[1], first, profile, policies[0])
        draw_latency(rows[2], lines, deadline_s)
        draw_quality(rows[3], lines, profile)
        write_load_table(figure, _ROWS_RIGHT, rows[2].get_position().y1, table, styles)
        for axes in rows:
            axes.tick_params(labelbottom=axes is rows[-1])
            shade_overload(axes, first, capacity_per_s)
        rows[-1].set_xlabel("seconds")
        return _save(figure, folder, name)


def shown_policies(summaries: Sequence[Summary]) -> list[str]:
    """Return the policies whose lines are drawn: the first one, and of the others the best and the worst.

    More lines in a row of the chart cannot be told apart.
    """
    first, *others = summaries
    if len(others) > 2:
        ranked = sorted(others, key=lambda summary: -summary.retention)
        others = [ranked[0], ranked[-1]]
    return [summary.policy for summary in (first, *others)]


def _make_rows(title: str, warnings: Sequence[str], note: str, n_table_lines: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with title, warnings and note, and its four empty rows."""
    title_lines = textwrap.wrap(title[:1].upper() + title[1:], _TITLE_CHARACTERS)
    warning_lines = [line for warning in warnings for line in textwrap.wrap(warning, _WARNING_CHARACTERS)]
    top = _TITLE_TOP + _TITLE_LINE * len(title_lines) + _WARNING_LINE * len(warning_lines) + _ROWS_GAP
    bottom = _AXIS + (_NOTE if note else 0)
    height = top + max(_MIN_ROWS_HEIGHT, _HEIGHT_ABOVE_TABLE + TABLE_LINE_HEIGHT * n_table_lines) + bottom
    figure = new_figure(_WIDTH, height / POINTS_PER_INCH)
    y = _TITLE_TOP
    for line in title_lines:
        figure.text(_TEXT_LEFT, 1 - y / height, line, va="top", fontsize=11, fontweight="bold", color=INK)
        y += _TITLE_LINE
    style: dict[str, Any] = {"fontsize": SMALL + 0.5, "fontweight": "bold", "color": PAGE_COLOURS["worse"][0]}
    for line in warning_lines:
        figure.text(_TEXT_LEFT, 1 - (y + 2) / height, line, va="top", **style)
        y += _WARNING_LINE
    figure.text(_ROWS_LEFT, 5 / height, note, va="bottom", fontsize=SMALL, color=MUTED)
    grid = figure.add_gridspec(4, 1, height_ratios=(1, 1, 1.25, 1.25), hspace=0.36)
    grid.update(left=_ROWS_LEFT, right=_ROWS_RIGHT, top=1 - top / height, bottom=bottom / height)
    first = figure.add_subplot(grid[0])
    return figure, [first, *(figure.add_subplot(grid[number], sharex=first) for number in (1, 2, 3))]


def _gap_note(lines: Sequence[LoadLine]) -> str:
    """Return the reason for gaps in rows; empty without gaps."""
    intervals = [
        (rate, p99_s)
        for line in lines
        for rate, p99_s in zip(line.timeline.arrivals_per_s, line.timeline.p99_s, strict=True)
    ]
    reasons = []
    if any(not rate for rate, _ in intervals):
        reasons.append("no query was sent")
    if any(rate and p99_s is None for rate, p99_s in intervals):
        reasons.append("none was answered (levels and latency)" if reasons else "no query was answered")
    interval = f"{lines[0].timeline.interval_s:.3g} s"
    return f"Gaps: in these periods of {interval} or more, {', or '.join(reasons)}." if reasons else ""


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    svg_path, png_path = folder / f"{name}.svg", folder / f"{name}.png"
    with atomic_write(svg_path) as file:
        file.write(svg_of(figure, name))
    with atomic_write(png_path, "wb") as file:
        figure.savefig(file, format="png", dpi=200)
    return [svg_path, png_path]
