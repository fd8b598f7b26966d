"""Front of several aims: the choices that no other one beats in all of them."""

from __future__ import annotations

from collections.abc import Sequence


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, in their order.

    A point dominates another one if it is at least as high in every aim and higher in one: negate what shall be low.
    Equal points do not exclude each other.

    Args:
        points: The values of each point, one for each aim.
    """

    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)

    return [number for number, point in enumerate(points) if not any(dominates(other, point) for other in points)]
