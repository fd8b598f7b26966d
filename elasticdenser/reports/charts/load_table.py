"""Table beside the chart of a load: the figures of each policy, and the legend of the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from elasticdenser.engine.simulation.summary import Summary
from elasticdenser.reports.charts.style import POINTS_PER_INCH, SMALL
from elasticdenser.reports.palette import MUTED

TABLE_LINE_HEIGHT = 15.0
"""Distance in points between the lines of the table."""

_COLUMNS = (0.868, 0.928, 0.99)
"""Right ends of the columns of figures, as shares of the width."""


def write_load_table(
    figure: Figure,
    left: float,
    top: float,
    summaries: Sequence[tuple[Summary, Summary | None]],
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the figures of each policy, and of its simulation, if any.

    Args:
        figure: The figure.
        left: Left end of the table, as a share of the width.
        top: Baseline of the first line, as a share of the height.
        summaries: Summary of each policy, with that of its simulation or None.
        styles: Policy -> style of its line; the first policy is in bold. Policies without a line are not in it.
    """
    line_height = TABLE_LINE_HEIGHT / (POINTS_PER_INCH * figure.get_figheight())
    y = top
    _write_row(figure, left, y, "whole load", ("in time", "p99 ms", "quality"), color=MUTED)
    for number, (summary, simulated) in enumerate(summaries):
        y -= line_height
        if style := styles.get(summary.policy):
            figure.add_artist(Line2D([left + 0.012, left + 0.034], [y + 0.2 * line_height] * 2, **style))
        weight = "bold" if number == 0 else "normal"
        _write_row(figure, left, y, summary.policy, _figures(summary), fontweight=weight)
        if simulated:
            y -= line_height
            _write_row(figure, left, y, "as simulated", _figures(simulated), color=MUTED)
    if len(styles) < len(summaries):
        y -= 1.3 * line_height
        note = "Lines: the first policy, and the best\nand the worst of the others."
        figure.text(left + 0.042, y, note, va="top", fontsize=SMALL, color=MUTED)


def _figures(summary: Summary) -> tuple[str, str, str]:
    p99_ms = "-" if summary.p99_s is None else f"{1000 * summary.p99_s:.1f}"
    return f"{summary.in_time:.2%}", p99_ms, f"{summary.retention:.3f}"


def _write_row(figure: Figure, left: float, y: float, name: str, figures: Sequence[str], **style: Any) -> None:
    figure.text(left + 0.042, y, name, fontsize=SMALL, **style)
    for right, text in zip(_COLUMNS, figures, strict=True):
        figure.text(right, y, text, ha="right", fontsize=SMALL, **style)
