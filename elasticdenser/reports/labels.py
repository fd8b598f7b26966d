"""Where names go in a picture: beside their points without covering anything, or in a column at the right."""

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

from elasticdenser.reports.figures import NORMAL, text_width
from elasticdenser.reports.palette import INK, MUTED, Look

LINE_HEIGHT = 13.0

# Directions in the order of preference, and distances from the point in points.
_DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
_DISTANCES = (8.0, 13.0, 20.0, 29.0, 40.0, 54.0, 70.0)
_LEADER_FROM = 20.0
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
    """A point with a name, and the ends of its error bar, in data coordinates."""

    name: str
    x: float
    y: float
    low: float
    high: float


def label_points(axes: Axes, points: Sequence[Point], steps: Sequence[tuple[float, float]]) -> None:
    """Write each point's name beside it, at the place where it covers least; limits must be set before.

    Args:
        axes: Where the points are drawn.
        points: In the order in which they choose.
        steps: Corners of a step line, in data coordinates, that names should not lie on.
    """
    frame = _Box(*axes.bbox.extents)
    centres = [tuple(axes.transData.transform((point.x, point.y))) for point in points]
    markers = [_around(x, y, _MARKER_RADIUS) for x, y in centres]
    lines = [_segment(axes, (point.x, point.low), (point.x, point.high)) for point in points]
    lines += [_segment(axes, start, end) for start, end in itertools.pairwise(steps)]
    placed: list[_Box] = []
    for point, (x, y) in zip(points, centres, strict=True):
        width = text_width(axes.get_figure(), point.name)

        def cost_of(place: tuple[float, int], x: float = x, y: float = y, width: float = width) -> float:
            distance, rank = place
            box = _box_at(x, y, distance, _DIRECTIONS[rank], width)
            outside = box.area - box.overlap(frame)
            covered = sum(box.overlap(other) for other in (*placed, *markers))
            return 4 * (outside + covered) + 2 * sum(map(box.overlap, lines)) + 3 * distance + rank

        distance, rank = min(itertools.product(_DISTANCES, range(len(_DIRECTIONS))), key=cost_of)
        placed.append(_box_at(x, y, distance, _DIRECTIONS[rank], width))
        _write(axes, point.name, placed[-1], _DIRECTIONS[rank][0], (x, y) if distance >= _LEADER_FROM else None)


def label_column(
    axes: Axes, names: Sequence[str], looks: Sequence[Look], ends: Sequence[tuple[float, float]] | None = None
) -> None:
    """Write names with their markers in a column right of the axes.

    Args:
        axes: Axes that leave `column_width` at their right; limits must be set before.
        names: One for each look.
        looks: Colours, markers and dashes.
        ends: Where each name's line ends, in data coordinates: the names keep near to these and are tied to them.
            Without it they stand one below the other.
    """
    _, bottom, right, top = axes.bbox.extents
    anchors: list[tuple[float, float] | None] = [None] * len(names)
    heights = [top - LINE_HEIGHT * (place + 0.5) for place in range(len(names))]
    if ends is not None:
        anchors = [tuple(axes.transData.transform(end)) for end in ends]
        heights = spread([anchor[1] for anchor in anchors if anchor], LINE_HEIGHT, bottom, top)
    for name, look, anchor, y in zip(names, looks, anchors, heights, strict=True):
        sample = [right + 16, right + 25, right + 34]
        if anchor is not None:
            _line(axes, [anchor[0], sample[0] - 2], [anchor[1], y], color=MUTED, linewidth=0.5)
            _line(axes, sample, [y, y, y], markevery=[1], **look.line)
        else:
            _line(axes, sample[1:2], [y], color=look.colour, marker=look.marker, markersize=5, linestyle="none")
        axes.text(sample[2] + 5, y, name, transform=IdentityTransform(), va="center_baseline", color=INK)


def column_width(figure: Figure, names: Sequence[str]) -> float:
    """Return the points that `label_column` needs."""
    return 44 + max((text_width(figure, name) for name in names), default=0.0)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near those wanted, in the same order, at least `gap` apart and within `low` and `high`.

    Where there is no room for all between the two they go below `low`.
    """
    from scipy.optimize import isotonic_regression

    if not wanted:
        return []
    # Of those that want the same place the first stands highest.
    order = np.lexsort((-np.arange(len(wanted)), np.asarray(wanted)))
    steps = gap * np.arange(len(wanted))
    # Positions a gap apart less that gap for each one before are positions that do not fall: least squares.
    moved = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    moved = np.minimum(np.maximum(moved, low + gap / 2), high - gap / 2 - steps[-1]) + steps
    positions = np.empty(len(wanted))
    positions[order] = moved
    return [float(position) for position in positions]


def _around(x: float, y: float, radius: float) -> _Box:
    return _Box(x - radius, y - radius, x + radius, y + radius)


def _segment(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> _Box:
    (x0, y0), (x1, y1) = axes.transData.transform((start, end))
    return _Box(min(x0, x1) - 2, min(y0, y1) - 2, max(x0, x1) + 2, max(y0, y1) + 2)


def _box_at(x: float, y: float, distance: float, direction: tuple[int, int], width: float) -> _Box:
    """Return the box of a text that lies that far from a point."""
    right, up = (distance * part for part in direction)
    left = x + right if right > 0 else x + right - width if right < 0 else x - width / 2
    return _Box(left, y + up - _FONT_HEIGHT / 2, left + width, y + up + _FONT_HEIGHT / 2)


def _write(axes: Axes, name: str, box: _Box, side: int, tied_to: tuple[float, float] | None) -> None:
    """Write a name into its box, flush with the end near the point as the reader's font may be narrower."""
    middle = (box.bottom + box.top) / 2
    x, align = {1: (box.left, "left"), -1: (box.right, "right"), 0: ((box.left + box.right) / 2, "center")}[side]
    if tied_to is not None:
        _line(axes, [tied_to[0], x - side], [tied_to[1], middle], color=MUTED, linewidth=0.5, zorder=2)
    style: dict[str, Any] = {"ha": align, "va": "center_baseline", "color": INK, "fontsize": NORMAL}
    axes.text(x, middle, name, transform=IdentityTransform(), **style)


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], **style: object) -> None:
    """Draw in points of the figure instead of data."""
    line = Line2D(xs, ys, clip_on=False, transform=IdentityTransform(), **style)  # type: ignore[arg-type]
    axes.add_artist(line)
