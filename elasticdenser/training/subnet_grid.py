"""Figures of subnets as lines of text: widths below each other, depths side by side."""

from __future__ import annotations

from collections.abc import Mapping

from elasticdenser.subnet import Subnet


def grid_lines(values: Mapping[str, float]) -> list[str]:
    """Return figures by the name of their subnet as the lines of a table."""
    by_subnet = {Subnet.parse(name): value for name, value in values.items()}
    depths = sorted({subnet.depth for subnet in by_subnet})
    lines = [" " * 8 + "".join(f"{f'd{depth}':>8}" for depth in depths)]
    for width in sorted({subnet.width for subnet in by_subnet}, reverse=True):
        cells = (by_subnet.get(Subnet(width, depth)) for depth in depths)
        lines.append(f"{f'w{width:g}':>8}" + "".join(f"{'' if cell is None else f'{cell:.4f}':>8}" for cell in cells))
    return lines
