"""The pictures of quality against cost and of recall curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from elasticdenser.evaluation.comparison import Cell, Comparison, QuerySetInfo
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Picture
from elasticdenser.reports.figures import axes_with_margins, new_figure, report_style, svg_of
from elasticdenser.reports.labels import LINE_HEIGHT, Point, column_width, label_column, label_points
from elasticdenser.reports.palette import MUTED, PAPER, Look, looks_of
from elasticdenser.reports.retention import Retention

_WIDTH = 5.35
# More points than that cannot all be labelled where they are.
_MOST_LABELS = 12
_LEFT, _BOTTOM, _TOP, _RIGHT = 48.0, 40.0, 14.0, 12.0
# Width of a digit, and what should lie between two numbers on an axis.
_DIGIT, _TICK_GAP = 5.8, 5.0


def cost_picture(comparison: Comparison, info: QuerySetInfo, name: str) -> Picture | None:
    """Return quality against milliseconds per query; None where no system was timed."""
    measure = info.measures[0]
    cells = [cell for cell in _cells(comparison, info) if cell.values.get(measure)]
    points = {cell.system: _point(comparison, cell, measure) for cell in cells if cell.ms_per_query}
    if not points:
        return None
    per = "milliseconds per query" + (f", {text.count(info.timed_k, 'hit')}" if info.timed_k else "")
    size = _height(len(cells))
    svg = _cost_svg(name, points, looks_of(comparison), y_label=text.plain(measure), x_label=per, height=size)
    untimed = [
        f"{text.plain(cell.system)} ({text.value(cell.mean(measure))})" for cell in cells if not cell.ms_per_query
    ]
    hollow = "Hollow: another system is at least as good and as fast. The line joins the others."
    caption = (
        "Up and to the left is better. Bars: 95% bootstrap intervals."
        + (f" {hollow}" if len(points) > 1 else "")
        + (f" Not timed: {', '.join(untimed)}." if untimed else "")
    )
    listed = (f"{p.name} {text.value(p.y)} at {text.milliseconds(p.x)} ms" for p in points.values())
    title = f"{text.plain(measure)} against time per query"
    return Picture(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(listed)}.")


def retention_picture(found: Retention, name: str) -> Picture | None:
    """Return the mean retention of each size against milliseconds per query; None where sizes were not timed."""
    points: dict[str, Point] = {}
    for size in found.sizes:
        share, ms = found.mean_share(size), found.milliseconds(size)
        if share is not None and ms:
            label = text.short_name(size.size or size.name)
            points[size.name] = Point(name=label, x=ms, y=100 * share, low=100 * share, high=100 * share)
    if len(points) < 2:
        return None
    labels = {"y_label": "mean retention, %", "x_label": "milliseconds per query"}
    looks = looks_of(found.comparison)
    svg = _cost_svg(name, points, looks, **labels, height=_height(len(points)))
    title = "Mean retention against time per query"
    caption = "Up and to the left is better. Hollow: another size is at least as good and as fast. No typing errors."
    listed = (f"{p.name} {p.y:.1f}% at {text.milliseconds(p.x)} ms" for p in points.values())
    return Picture(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(listed)}.")


def curve_picture(comparison: Comparison, info: QuerySetInfo, name: str) -> Picture | None:
    """Return the curve measure against its cut-off, a line for each system; None where there are no curves."""
    cells = [cell for cell in _cells(comparison, info) if cell.curve]
    if not cells:
        return None
    # The baseline first: the column of names breaks ties in this order.
    cells.sort(key=lambda cell: cell.system != comparison.baseline)
    looks = [looks_of(comparison)[cell.system] for cell in cells]
    names = [text.short_name(cell.system) for cell in cells]
    with report_style(name):
        figure = new_figure(_WIDTH, _height(len(_cells(comparison, info))))
        right = column_width(figure, names)
        axes = axes_with_margins(figure, left=_LEFT, right=right, bottom=_BOTTOM, top=_TOP)
        cutoffs = sorted({cutoff for cell in cells for cutoff in cell.curve})
        _log_axis(axes, cutoffs[0] / 1.1, cutoffs[-1] * 1.1, cutoffs)
        means = [mean for cell in cells for mean in cell.curve.values()]
        low, high = _padded(min(means), max(means))
        axes.set_ylim(low, min(high, 1.02) if max(means) <= 1 else high)
        for cell, look in zip(cells, looks, strict=True):
            axes.plot(sorted(cell.curve), [cell.curve[cutoff] for cutoff in sorted(cell.curve)], **look.line)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_ylabel(f"{text.plain(info.curve_measure)}@k")
        axes.set_xlabel("cut-off k")
        label_column(axes, names, looks, [max(cell.curve.items()) for cell in cells])
        svg = svg_of(figure, name)
    title = f"{text.plain(info.curve_measure)} at each cut-off"
    listed = (f"{text.plain(c.system)} {text.value(m)} at {k:,}" for c in cells for k, m in [max(c.curve.items())])
    caption = "Higher is better; names stand in the order of the lines' right ends."
    return Picture(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(listed)}.")


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other equals or beats in both time and quality, fastest first.

    Points at the very same place do not beat each other.
    """

    def is_beaten(point: Point) -> bool:
        place = (point.x, point.y)
        return any(other.x <= point.x and other.y >= point.y and (other.x, other.y) != place for other in points)

    return sorted((point for point in points if not is_beaten(point)), key=lambda point: point.x)


def _cost_svg(
    name: str, points: Mapping[str, Point], looks: Mapping[str, Look], *, y_label: str, x_label: str, height: float
) -> str:
    """Draw points by system, quality upwards and milliseconds to the right, with the line of the best."""
    front = pareto_front(list(points.values()))
    with report_style(name):
        figure = new_figure(_WIDTH, height)
        names = [point.name for point in points.values()]
        in_column = len(points) > _MOST_LABELS
        right = column_width(figure, names) if in_column else _RIGHT
        axes = axes_with_margins(figure, left=_LEFT, right=right, bottom=_BOTTOM, top=_TOP)
        _set_cost_limits(axes, list(points.values()))
        corners = _draw_front(axes, front)
        for system, point in points.items():
            _draw_point(axes, point, looks[system], is_dominated=point not in front)
        axes.set_ylabel(y_label)
        axes.set_xlabel(x_label)
        if in_column:
            label_column(axes, names, [looks[system] for system in points])
        else:
            label_points(axes, list(points.values()), corners)
        return svg_of(figure, name)


def _cells(comparison: Comparison, info: QuerySetInfo) -> list[Cell]:
    found = (comparison.cell(info.name, system.name) for system in comparison.systems)
    return [cell for cell in found if cell is not None]


def _point(comparison: Comparison, cell: Cell, measure: str) -> Point:
    mean, ms = cell.mean(measure), cell.ms_per_query
    found = comparison.interval(cell.query_set, cell.system, measure)
    low, high = (found.low, found.high) if found else (mean, mean)
    return Point(name=text.short_name(cell.system), x=ms or math.nan, y=mean, low=low, high=high)


def _height(n_systems: int) -> float:
    """Return a height in inches that leaves room for a column of all names."""
    return max(3.9, (n_systems * LINE_HEIGHT + _BOTTOM + _TOP) / 72)


def _set_cost_limits(axes: Axes, points: Sequence[Point]) -> None:
    times = [point.x for point in points]
    margin = max(0.18 * math.log10(max(times) / min(times)), 0.15)
    _log_axis(axes, min(times) / 10**margin, max(times) * 10**margin)
    axes.set_ylim(*_padded(min(p.low for p in points), max(p.high for p in points)))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.08 * (high - low) or max(0.05 * abs(high), 0.05)
    return low - margin, high + margin


def _log_axis(axes: Axes, low: float, high: float, at: Sequence[float] | None = None) -> None:
    """Make the x-axis logarithmic with plain numbers at `at`, or at round ones, as many as find room."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = list(at) if at is not None else _round_numbers(low, high)
    width = axes.bbox.width / math.log(high / low)
    shown = ticks[-1:]
    for tick in reversed(ticks[:-1]):
        room = width * math.log(shown[-1] / tick)
        if room >= _TICK_GAP + _DIGIT * (len(_number(tick)) + len(_number(shown[-1]))) / 2:
            shown.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: _number(number)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _number(number: float) -> str:
    return f"{number:,.10g}"


def _round_numbers(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`: 1, 2, 5 and their tenfolds, or more where these are too few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1, 10), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(step / 2 for step in range(2, 20))):
        numbers = sorted({float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps})
        found = [number for number in numbers if low <= number <= high]
        if len(found) >= 4:
            break
    return found or [low]


def _draw_front(axes: Axes, front: Sequence[Point]) -> list[tuple[float, float]]:
    """Draw the best quality to be had at each cost, and return the line's corners."""
    corners: list[tuple[float, float]] = []
    for point in front:
        corners += [(point.x, corners[-1][1] if corners else point.y), (point.x, point.y)]
    corners.append((axes.get_xlim()[1], front[-1].y))
    axes.plot(*zip(*corners, strict=True), color=MUTED, linewidth=1, alpha=0.6, zorder=1)
    return corners


def _draw_point(axes: Axes, point: Point, look: Look, *, is_dominated: bool) -> None:
    axes.plot([point.x, point.x], [point.low, point.high], color=look.colour, linewidth=1.2, alpha=0.55, zorder=2)
    axes.plot(
        [point.x],
        [point.y],
        linestyle="none",
        marker=look.marker,
        markersize=6.5,
        markeredgewidth=1.4,
        color=look.colour,
        markerfacecolor=PAPER if is_dominated else look.colour,
        zorder=3,
    )
