"""The joint budget of encoder and search: which search effort goes with which size of the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from elasticdenser.engine.profiling.hull import concave_hull, slope

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


def choose_recalls(cells: Mapping[str, Sequence[Cell]]) -> dict[str, Cell]:
    """Choose for each size the effort at which it loses least for its time.

    That is the one nearest below the concave hull of all sizes at all efforts, which is what mixtures of them reach.
    The best size keeps the greatest effort: at rest there is time for it.

    Args:
        cells: For each size its efforts, the greatest last.
    """
    points = sorted(((cell.cost_s, cell.quality) for its in cells.values() for cell in its), key=_best_first)
    hull = [points[number] for number in concave_hull(points)]
    best = max(cells, key=lambda name: max(cell.quality for cell in cells[name]))
    chosen = {
        name: min(reversed(its), key=lambda cell: _reached(hull, cell.cost_s) - cell.quality)
        for name, its in cells.items()
    }
    return {**chosen, best: cells[best][-1]}


def _best_first(point: tuple[float, float]) -> tuple[float, float]:
    return -point[1], point[0]


def _reached(hull: Sequence[tuple[float, float]], cost_s: float) -> float:
    """Return the quality that mixtures reach at a cost; the hull stands best first."""
    if cost_s <= hull[-1][0]:
        return hull[-1][1]
    for better, worse in pairwise(hull):
        if worse[0] <= cost_s <= better[0]:
            return worse[1] + slope(better, worse) * (cost_s - worse[0])
    return hull[0][1]
