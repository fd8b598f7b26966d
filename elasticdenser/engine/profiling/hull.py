"""Concave hull of quality over cost: the points that no mixture of others beats."""

from __future__ import annotations

from collections.abc import Sequence


def concave_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no mixture of two others beats in quality at equal cost, best first.

    Args:
        points: (cost, quality), by falling quality.
    """
    hull: list[int] = []
    for index, point in enumerate(points):
        if hull and point[0] >= points[hull[-1]][0]:
            continue
        while len(hull) > 1 and slope(points[hull[-2]], points[hull[-1]]) >= slope(points[hull[-1]], point):
            hull.pop()
        hull.append(index)
    return hull


def slope(better: tuple[float, float], worse: tuple[float, float]) -> float:
    """Return the quality lost for each unit of cost saved between two points."""
    return (better[1] - worse[1]) / (better[0] - worse[0])
