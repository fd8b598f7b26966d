"""The joint budget of encoder and search: which search effort goes with which size of the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

LOST_WITH_RECALL = 0.2
"""Retention lost for each share of recall@10 that is lost: .1 to .2 at every size, by `eval/bench/effort.py`."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A size of the encoder with a search effort.

    Args:
        quality: Retention.
        cost_s: Seconds a query, encoding and search together.
        recall: What names the effort; None is the greatest.
    """

    quality: float
    cost_s: float
    recall: float | None


def concave_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, quality) that no mixture of two others beats, from the cheapest to the best."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if kept and point[1] <= kept[-1][1]:
            continue
        while len(kept) > 1 and _slope(kept[-2], kept[-1]) <= _slope(kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def choose_recalls(cells: Mapping[str, Sequence[Cell]]) -> dict[str, Cell]:
    """Choose for each size the effort at which it loses least for its time.

    That is the one nearest below the concave hull of all sizes at all efforts, which is what mixtures of them reach.
    The best size keeps the greatest effort: at rest there is time for it.

    Args:
        cells: For each size its efforts, the greatest last.
    """
    hull = concave_hull([(cell.cost_s, cell.quality) for its in cells.values() for cell in its])
    best = max(cells, key=lambda name: max(cell.quality for cell in cells[name]))
    chosen = {
        name: min(reversed(its), key=lambda cell: _reached(hull, cell.cost_s) - cell.quality)
        for name, its in cells.items()
    }
    return {**chosen, best: cells[best][-1]}


def _slope(cheaper: tuple[float, float], dearer: tuple[float, float]) -> float:
    return (dearer[1] - cheaper[1]) / (dearer[0] - cheaper[0])


def _reached(hull: Sequence[tuple[float, float]], cost_s: float) -> float:
    """Return the quality that mixtures reach at a cost."""
    if cost_s <= hull[0][0]:
        return hull[0][1]
    for cheaper, dearer in pairwise(hull):
        if cost_s <= dearer[0]:
            return cheaper[1] + _slope(cheaper, dearer) * (cost_s - cheaper[0])
    return hull[-1][1]
