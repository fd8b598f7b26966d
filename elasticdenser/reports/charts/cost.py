"""Charts of quality against time per query: measures of systems, and retention of subnets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from elasticdenser.evaluation.comparison import Cell, Comparison, QuerySetInfo
from elasticdenser.evaluation.front import non_dominated
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Chart
from elasticdenser.reports.charts.axes import padded, set_log_axis
from elasticdenser.reports.charts.labels import Point, column_width, label_column, label_points
from elasticdenser.reports.charts.style import (
    HALF_WIDTH,
    MARGINS,
    axes_with_margins,
    height_for_names,
    new_figure,
    report_style,
    svg_of,
)
from elasticdenser.reports.palette import MUTED, PAPER, SystemStyle, system_styles
from elasticdenser.reports.retention import Retention

_MAX_LABELLED_POINTS = 12
"""With more points there is no room for names beside all of them: the names go into a column."""

_RIGHT_MARGIN = 12.0


def cost_chart(comparison: Comparison, info: QuerySetInfo, name: str) -> Chart | None:
    """Return the chart of the primary measure against milliseconds per query; None if no system was timed."""
    measure = info.measures[0]
    cells = [cell for cell in comparison.cells_of(info.name) if cell.values.get(measure)]
    points = {cell.system: _point(comparison, cell, measure) for cell in cells if cell.ms_per_query}
    if not points:
        return None
    svg = cost_svg(
        name,
        points,
        system_styles(comparison),
        y_label=text.plain(measure),
        x_label="milliseconds per query" + (f", {text.count(info.timed_k, 'hit')}" if info.timed_k else ""),
        height=height_for_names(len(cells)),
    )
    untimed = [
        f"{text.plain(cell.system)} ({text.value(cell.mean(measure))})" for cell in cells if not cell.ms_per_query
    ]
    hollow = "Hollow markers: another system is at least as good and as fast. The line joins the filled markers."
    caption = (
        "Up and to the left is better. Vertical bars are 95% bootstrap intervals."
        + (f" {hollow}" if len(points) > 1 else "")
        + (f" Not timed: {', '.join(untimed)}." if untimed else "")
    )
    values = (f"{point.name} {text.value(point.y)} at {text.milliseconds(point.x)} ms" for point in points.values())
    title = f"{text.plain(measure)} against time per query"
    return Chart(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(values)}.")


def retention_chart(retention: Retention, name: str) -> Chart | None:
    """Return the chart of mean retention against milliseconds per query; None if fewer than two subnets were timed."""
    points: dict[str, Point] = {}
    for system in retention.systems:
        share, ms = retention.mean_share(system), retention.milliseconds(system)
        if share is not None and ms:
            label = text.short_name(system.subnet or system.name)
            points[system.name] = Point(name=label, x=ms, y=100 * share, low=100 * share, high=100 * share)
    if len(points) < 2:
        return None
    svg = cost_svg(
        name,
        points,
        system_styles(retention.comparison),
        y_label="mean retention, %",
        x_label="milliseconds per query",
        height=height_for_names(len(points)),
    )
    title = "Mean retention against time per query"
    caption = (
        "Queries without slips. Up and to the left is better. Hollow markers: another subnet is at least as "
        "good and as fast. The line joins the filled markers."
    )
    values = (f"{point.name} {point.y:.1f}% at {text.milliseconds(point.x)} ms" for point in points.values())
    return Chart(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(values)}.")


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points for which no other point is at least as fast and as good, fastest first.

    Points with equal time and quality do not exclude each other.
    """
    front = non_dominated([(-point.x, point.y) for point in points])
    return sorted((points[number] for number in front), key=lambda point: point.x)


def cost_svg(
    name: str,
    points: Mapping[str, Point],
    styles: Mapping[str, SystemStyle],
    *,
    y_label: str,
    x_label: str,
    height: float,
    marks: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """Return a chart of a point for each system, and the line of the Pareto front, as SVG.

    Args:
        name: Name of the chart.
        points: System -> its point.
        styles: System -> its style.
        y_label: Name of the quality.
        x_label: Name of the cost.
        height: Height of the figure.
        marks: Name -> cost that a dotted line marks.
    """
    front = pareto_front(list(points.values()))
    with report_style(name):
        figure = new_figure(HALF_WIDTH, height)
        names = [point.name for point in points.values()]
        has_column = len(points) > _MAX_LABELLED_POINTS
        right = column_width(figure, names) if has_column else _RIGHT_MARGIN
        axes = axes_with_margins(figure, right=right, **MARGINS)
        _set_limits(axes, list(points.values()), list(marks.values()))
        for label, cost in marks.items():
            _draw_mark(axes, label, cost)
        corners = _draw_front(axes, front)
        for system, point in points.items():
            _draw_point(axes, point, styles[system], is_dominated=point not in front)
        axes.set_ylabel(y_label)
        axes.set_xlabel(x_label)
        if has_column:
            label_column(axes, names, [styles[system] for system in points])
        else:
            label_points(axes, list(points.values()), corners)
        return svg_of(figure, name)


def _point(comparison: Comparison, cell: Cell, measure: str) -> Point:
    mean, ms = cell.mean(measure), cell.ms_per_query
    interval = comparison.interval(cell.query_set, cell.system, measure)
    low, high = (interval.low, interval.high) if interval else (mean, mean)
    return Point(name=text.short_name(cell.system), x=ms or math.nan, y=mean, low=low, high=high)


def _set_limits(axes: Axes, points: Sequence[Point], marks: Sequence[float]) -> None:
    costs = [*(point.x for point in points), *marks]
    # In decades: room for the names of the outermost points, also where all costs are alike.
    margin = max(0.18 * math.log10(max(costs) / min(costs)), 0.15)
    set_log_axis(axes, min(costs) / 10**margin, max(costs) * 10**margin)
    axes.set_ylim(*padded(min(point.low for point in points), max(point.high for point in points)))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _draw_mark(axes: Axes, label: str, cost: float) -> None:
    """Mark a cost by a dotted line, with its name at the foot."""
    axes.axvline(cost, color=MUTED, linewidth=1, linestyle=":", zorder=1)
    foot = axes.get_xaxis_transform()
    axes.annotate(label, (cost, 0), (3, 4), foot, textcoords="offset points", color=MUTED, fontsize="small")


def _draw_front(axes: Axes, front: Sequence[Point]) -> list[tuple[float, float]]:
    """Draw the best quality within each time as a step line, and return its corners."""
    corners: list[tuple[float, float]] = []
    for point in front:
        corners += [(point.x, corners[-1][1] if corners else point.y), (point.x, point.y)]
    corners.append((axes.get_xlim()[1], front[-1].y))
    axes.plot(*zip(*corners, strict=True), color=MUTED, linewidth=1, alpha=0.6, zorder=1)
    return corners


def _draw_point(axes: Axes, point: Point, style: SystemStyle, *, is_dominated: bool) -> None:
    axes.plot([point.x, point.x], [point.low, point.high], color=style.colour, linewidth=1.2, alpha=0.55, zorder=2)
    axes.plot(
        [point.x],
        [point.y],
        linestyle="none",
        marker=style.marker,
        markersize=6.5,
        markeredgewidth=1.4,
        color=style.colour,
        markerfacecolor=PAPER if is_dominated else style.colour,
        zorder=3,
    )
