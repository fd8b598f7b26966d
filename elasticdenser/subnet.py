"""Subnets of the elastic encoder: `Subnet(width, depth)`, spelled `w0.5-d3`; the smallest, `level0`, has no layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from elasticdenser.errors import QueryError

_SPELLING = re.compile(r"w(?P<width>\d+(?:\.\d+)?)-d(?P<depth>\d+)")


@total_ordering
@dataclass(frozen=True, slots=True)
class Subnet:
    """Part of the elastic encoder that can be used alone.

    Args:
        width: Share of the attention heads and feed-forward neurons, in (0, 1]; 0 for `LEVEL_0`.
        depth: Number of layers, at least 1; 0 for `LEVEL_0`.

    Raises:
        QueryError: Width or depth is no number, or out of range.
    """

    width: float
    depth: int

    def __post_init__(self) -> None:
        if not isinstance(self.width, float | int) or not isinstance(self.depth, int):
            raise QueryError(f"got width {self.width!r} and depth {self.depth!r}, expected numbers: Subnet(0.5, 3)")
        if (self.width, self.depth) != (0, 0) and (not 0 < self.width <= 1 or self.depth < 1):
            raise QueryError(f"got width {self.width} and depth {self.depth}, expected 0 < width <= 1 and depth >= 1")

    @classmethod
    def parse(cls, spelling: str | Subnet) -> Subnet:
        """Return the subnet of a spelling such as `w0.5-d3`; the inverse of `str`.

        Raises:
            QueryError: The spelling has another form.
        """
        if isinstance(spelling, Subnet):
            return spelling
        if spelling == str(LEVEL_0):
            return LEVEL_0
        match = _SPELLING.fullmatch(spelling) if isinstance(spelling, str) else None
        if match is None:
            raise QueryError(f"got subnet {spelling!r}, expected the form w<width>-d<depth>, such as w1-d6, or level0")
        return cls(width=float(match["width"]), depth=int(match["depth"]))

    def __str__(self) -> str:
        return f"w{self.width:g}-d{self.depth}" if self.depth else "level0"

    def __lt__(self, other: Subnet) -> bool:
        """Order by cost, width times depth, then by depth."""
        return (self.width * self.depth, self.depth) < (other.width * other.depth, other.depth)


LEVEL_0 = Subnet(0.0, 0)
"""Subnet without a layer: the mean of a table's token vectors."""
