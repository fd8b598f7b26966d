"""The concave hull of quality over cost: what no mixture of others beats."""

from __future__ import annotations

from collections.abc import Sequence


def concave_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the numbers of the points that no mixture of two others beats in quality at equal cost, best first.

    Args:
        points: (cost, quality), by falling quality.
    """
    kept: list[int] = []
    for number, point in enumerate(points):
        if kept and point[0] >= points[kept[-1]][0]:
            continue
        while len(kept) > 1 and slope(points[kept[-2]], points[kept[-1]]) >= slope(points[kept[-1]], point):
            kept.pop()
        kept.append(number)
    return kept


def slope(better: tuple[float, float], worse: tuple[float, float]) -> float:
    """Return the quality lost for each unit of cost won between two points."""
    return (better[1] - worse[1]) / (better[0] - worse[0])
