"""Choice of the search effort for each subnet, from a joint budget of encoding and search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elasticdenser.hull import hull_of, quality_at

RETENTION_LOST_WITH_RECALL = 0.2
"""Retention lost for each share of recall@10 lost: .1 to .2 at every subnet, measured by `eval/bench/effort.py`."""


def retained_share(recall: float | None) -> float:
    """Return the share of a subnet's quality that remains with the search effort of this recall; None: the greatest."""
    return 1.0 if recall is None else 1 - RETENTION_LOST_WITH_RECALL * (1 - recall)


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A subnet of the encoder with a search effort.

    Args:
        quality: Retention.
        cost_s: Time of a query in a batch, encoding and search together.
        recall: Names the effort; None is the greatest.
    """

    quality: float
    cost_s: float
    recall: float | None


def choose_operating_points(points: Mapping[str, Sequence[OperatingPoint]]) -> dict[str, OperatingPoint]:
    """Choose for each subnet the search effort that loses the least quality for its cost.

    That is the point nearest below the concave hull of the points of all subnets, which mixtures of them reach. The
    best subnet keeps the greatest effort, because it is used at low load.

    Args:
        points: The operating points of each subnet, the greatest effort last.
    """
    hull = hull_of((point.cost_s, point.quality) for choices in points.values() for point in choices)
    best = max(points, key=lambda name: max(point.quality for point in points[name]))
    chosen = {
        name: min(reversed(choices), key=lambda point: quality_at(hull, point.cost_s) - point.quality)
        for name, choices in points.items()
    }
    return {**chosen, best: points[best][-1]}
