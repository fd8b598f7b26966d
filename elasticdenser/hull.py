"""Concave hull of quality over cost: the points that no mixture of others beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise


def concave_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no mixture of two others beats in quality at equal cost, best first.

    Args:
        points: (cost, quality), by falling quality.
    """
    hull: list[int] = []
    for index, point in enumerate(points):
        if hull and point[0] >= points[hull[-1]][0]:
            continue
        while len(hull) > 1 and _slope(points[hull[-2]], points[hull[-1]]) >= _slope(points[hull[-1]], point):
            hull.pop()
        hull.append(index)
    return hull


def hull_of(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of the hull, best first, of (cost, quality) in any order."""
    ordered = sorted(points, key=lambda point: (-point[1], point[0]))
    return [ordered[index] for index in concave_hull(ordered)]


def quality_at(hull: Sequence[tuple[float, float]], cost: float) -> float:
    """Return the quality that mixtures of the hull's points reach at a cost.

    Below the lowest cost, and above the highest, it is that of the nearest point.

    Args:
        hull: (cost, quality), by falling quality.
        cost: The cost.
    """
    if cost <= hull[-1][0]:
        return hull[-1][1]
    for better, worse in pairwise(hull):
        if worse[0] <= cost <= better[0]:
            return worse[1] + _slope(better, worse) * (cost - worse[0])
    return hull[0][1]


def _slope(better: tuple[float, float], worse: tuple[float, float]) -> float:
    """Return the quality lost for each unit of cost saved between two points."""
    return (better[1] - worse[1]) / (better[0] - worse[0])
