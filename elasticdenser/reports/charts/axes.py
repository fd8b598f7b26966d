"""Axes of charts: logarithmic ones with plain numbers, and limits with a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

_DIGIT_WIDTH, _TICK_GAP = 5.8, 5.0
"""Width of a digit, and the smallest gap between two numbers on an axis, in points."""

_MIN_TICKS = 4
_TICK_STEPS = ((1, 10), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), tuple(step / 2 for step in range(2, 20)))
"""Steps within a decade, from coarse to fine: the first that gives `_MIN_TICKS` numbers is used."""


def set_log_axis(axes: Axes, low: float, high: float, ticks: Sequence[float] | None = None) -> None:
    """Make the x-axis logarithmic, with plain numbers at `ticks` or at round numbers, as many as there is room for."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    candidates = list(ticks) if ticks is not None else _round_numbers(low, high)
    points_per_e_fold = axes.bbox.width / math.log(high / low)
    shown = candidates[-1:]
    for tick in reversed(candidates[:-1]):
        room = points_per_e_fold * math.log(shown[-1] / tick)
        if room >= _TICK_GAP + _DIGIT_WIDTH * (len(_number(tick)) + len(_number(shown[-1]))) / 2:
            shown.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: _number(number)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def padded(low: float, high: float) -> tuple[float, float]:
    """Return limits with a margin of 8% around values; where all are equal, a margin that still shows an axis."""
    margin = 0.08 * (high - low) or max(0.05 * abs(high), 0.05)
    return low - margin, high + margin


def _number(number: float) -> str:
    return f"{number:,.10g}"


def _round_numbers(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    within: list[float] = []
    for steps in _TICK_STEPS:
        numbers = sorted({float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps})
        within = [number for number in numbers if low <= number <= high]
        if len(within) >= _MIN_TICKS:
            break
    return within or [low]
