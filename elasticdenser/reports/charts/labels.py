"""Placement of names in charts: beside their points without covering anything, or in a column on the right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import IdentityTransform

from elasticdenser.reports.charts.style import LINE_HEIGHT, NORMAL, text_width
from elasticdenser.reports.palette import INK, MUTED, SystemStyle

_DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
"""Directions from a point to its name, in the order of preference."""

_DISTANCES = (8.0, 13.0, 20.0, 29.0, 40.0, 54.0, 70.0)
"""Distances between a point and its name, in points."""

_MIN_LEADER_DISTANCE = 20.0
"""From this distance on a line connects a name to its point."""

_COVERING_COST, _LINE_COST, _DISTANCE_COST = 4.0, 2.0, 3.0
"""Weights of a placement's cost, found by eye: covering names and markers, covering lines, both per square point, and
the distance, per point. Covering a name slightly is worse than moving away."""

_MARKER_RADIUS = 5.0
_FONT_HEIGHT = 10.0


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: _Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)


@dataclass(frozen=True, kw_only=True)
class Point:
    """Point with a name, and the ends of its error bar, in data coordinates."""

    name: str
    x: float
    y: float
    low: float
    high: float


def label_points(axes: Axes, points: Sequence[Point], steps: Sequence[tuple[float, float]]) -> None:
    """Write the name of each point beside it, where it covers the least; the limits of the axes must be set before.

    Args:
        axes: Axes with the points.
        points: Points in the order in which their names are placed.
        steps: Corners of a step line, in data coordinates, that names should not cover.
    """
    frame = _Box(*axes.bbox.extents)
    centres = [tuple(axes.transData.transform((point.x, point.y))) for point in points]
    markers = [_around(x, y, _MARKER_RADIUS) for x, y in centres]
    lines = [_segment(axes, (point.x, point.low), (point.x, point.high)) for point in points]
    lines += [_segment(axes, start, end) for start, end in itertools.pairwise(steps)]
    placed: list[_Box] = []
    for point, (x, y) in zip(points, centres, strict=True):
        width = text_width(axes.get_figure(), point.name)

        def cost_of(placement: tuple[float, int], x: float = x, y: float = y, width: float = width) -> float:
            distance, rank = placement
            box = _box_at(x, y, distance, _DIRECTIONS[rank], width)
            outside = box.area - box.overlap(frame)
            covered = sum(box.overlap(other) for other in (*placed, *markers))
            covered_lines = sum(map(box.overlap, lines))
            return _COVERING_COST * (outside + covered) + _LINE_COST * covered_lines + _DISTANCE_COST * distance + rank

        distance, rank = min(itertools.product(_DISTANCES, range(len(_DIRECTIONS))), key=cost_of)
        placed.append(_box_at(x, y, distance, _DIRECTIONS[rank], width))
        leader_start = (x, y) if distance >= _MIN_LEADER_DISTANCE else None
        _write(axes, point.name, placed[-1], _DIRECTIONS[rank][0], leader_start)


def label_column(
    axes: Axes, names: Sequence[str], styles: Sequence[SystemStyle], ends: Sequence[tuple[float, float]] | None = None
) -> None:
    """Write names with their markers in a column on the right of the axes.

    Args:
        axes: Axes with a right margin of `column_width`; their limits must be set before.
        names: A name for each style.
        styles: Colours, markers and dashes.
        ends: Right end of the line of each name, in data coordinates; the names are placed near these ends and
            connected to them. Without ends the names are listed from the top.
    """
    _, bottom, right, top = axes.bbox.extents
    anchors: list[tuple[float, float] | None] = [None] * len(names)
    heights = [top - LINE_HEIGHT * (row + 0.5) for row in range(len(names))]
    if ends is not None:
        anchors = [tuple(axes.transData.transform(end)) for end in ends]
        heights = spread([anchor[1] for anchor in anchors if anchor], LINE_HEIGHT, bottom, top)
    for name, style, anchor, y in zip(names, styles, anchors, heights, strict=True):
        sample = [right + 16, right + 25, right + 34]
        if anchor is not None:
            _line(axes, [anchor[0], sample[0] - 2], [anchor[1], y], color=MUTED, linewidth=0.5)
            _line(axes, sample, [y, y, y], markevery=[1], **style.line)
        else:
            _line(axes, sample[1:2], [y], color=style.colour, marker=style.marker, markersize=5, linestyle="none")
        axes.text(sample[2] + 5, y, name, transform=IdentityTransform(), va="center_baseline", color=INK)


def column_width(figure: Figure, names: Sequence[str]) -> float:
    """Return the width in points that `label_column` needs: a sample of the line and the longest name."""
    return 44 + max((text_width(figure, name) for name in names), default=0.0)


def spread(preferred: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near the preferred ones, in the same order, at least `gap` apart, between `low` and `high`.

    If there is not enough room between the two, the lowest positions are below `low`.
    """
    from scipy.optimize import isotonic_regression

    if not preferred:
        return []
    # Of several with the same preferred position the first is the highest.
    order = np.lexsort((-np.arange(len(preferred)), np.asarray(preferred)))
    steps = gap * np.arange(len(preferred))
    # Minus the gaps of those below, positions only have to be non-decreasing: isotonic regression (least squares).
    moved = isotonic_regression(np.asarray(preferred, dtype=float)[order] - steps).x
    moved = np.minimum(np.maximum(moved, low + gap / 2), high - gap / 2 - steps[-1]) + steps
    positions = np.empty(len(preferred))
    positions[order] = moved
    return [float(position) for position in positions]


def _around(x: float, y: float, radius: float) -> _Box:
    return _Box(x - radius, y - radius, x + radius, y + radius)


def _segment(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> _Box:
    (x0, y0), (x1, y1) = axes.transData.transform((start, end))
    return _Box(min(x0, x1) - 2, min(y0, y1) - 2, max(x0, x1) + 2, max(y0, y1) + 2)


def _box_at(x: float, y: float, distance: float, direction: tuple[int, int], width: float) -> _Box:
    """Return the box of a text at a distance from a point."""
    right, up = (distance * part for part in direction)
    left = x + right if right > 0 else x + right - width if right < 0 else x - width / 2
    return _Box(left, y + up - _FONT_HEIGHT / 2, left + width, y + up + _FONT_HEIGHT / 2)


def _write(axes: Axes, name: str, box: _Box, side: int, leader_start: tuple[float, float] | None) -> None:
    """Write a name into its box, aligned with the side near the point, as the reader's font may be narrower."""
    middle = (box.bottom + box.top) / 2
    x, align = {1: (box.left, "left"), -1: (box.right, "right"), 0: ((box.left + box.right) / 2, "center")}[side]
    if leader_start is not None:
        _line(axes, [leader_start[0], x - side], [leader_start[1], middle], color=MUTED, linewidth=0.5, zorder=2)
    style: dict[str, Any] = {"ha": align, "va": "center_baseline", "color": INK, "fontsize": NORMAL}
    axes.text(x, middle, name, transform=IdentityTransform(), **style)


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], **style: object) -> None:
    """Draw a line in points of the figure instead of data coordinates."""
    line = Line2D(xs, ys, clip_on=False, transform=IdentityTransform(), **style)  # type: ignore[arg-type]
    axes.add_artist(line)
