"""Rows of the chart of a load: rate, level that answered, latency and quality over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.summary import Timeline
from elasticdenser.reports.charts.style import NORMAL, SMALL
from elasticdenser.reports.level_colours import level_colour
from elasticdenser.reports.palette import INK, MUTED

_OVERLOAD_COLOUR = "#ece6f0"
"""Neither the colour of a level nor that of a line."""

_MAX_DEADLINES_SHOWN = 8
"""Latencies above this many deadlines are drawn there, so that they do not flatten the lines below."""

_DEADLINE_ROOM = 0.16
"""Share of the height of the row of latency that is above the deadline at least, for the name of its line."""

_COARSE_SHARE = 0.35
"""Share of the height of the row of quality for what is below all levels, where the scale is coarser."""

_MIN_COARSE_QUALITY = 0.5
"""If the levels reach further down, one scale from 0 shows both their differences and a bad policy."""

_LIMIT_DASHES = (0, (4, 2))


class LoadLine(NamedTuple):
    """Timeline of a policy, and the options of matplotlib for its line."""

    timeline: Timeline
    style: Mapping[str, Any]


def draw_rate(axes: Axes, timeline: Timeline, profile: Profile, workers: int) -> None:
    """Draw the queries per second, and the capacity of the best and of the fastest level."""
    axes.stairs(timeline.arrivals_per_s, _edges_s(timeline), fill=True, color=MUTED, alpha=0.55)
    highest = max(timeline.arrivals_per_s)
    for level, name in ((profile.levels[0], "best level"), (profile.levels[profile.hull[-1]], "fastest level")):
        capacity = workers * level.capacity_per_s()
        if 0 < capacity < 1.6 * highest:  # a higher line would flatten the rate
            axes.axhline(capacity, color=INK, linewidth=1, linestyle=_LIMIT_DASHES)
            _annotate(axes, 1, capacity, (5, 0), f"capacity of the {name}: {capacity:,.0f}", va="center")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, timeline.interval_s * len(timeline.arrivals_per_s))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    _set_title(axes, f"Load, queries per second{'; shaded: more than the best level can do' if workers else ''}")


def draw_levels(axes: Axes, timeline: Timeline, profile: Profile, policy: str) -> None:
    """Draw the share of the answers of each level, the best at the bottom."""
    names = list(timeline.levels)
    shares = np.asarray([[share or 0.0 for share in timeline.levels[name]] for name in names])
    positions = {level.name: position for position, level in enumerate(profile.levels)}
    colours = [level_colour(positions[name], len(profile.levels)) for name in names]
    tops = shares.cumsum(axis=0) if names else shares
    for top, colour in reversed(list(zip(tops, colours, strict=True))):
        axes.stairs(top, _edges_s(timeline), fill=True, color=colour)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    labels = [f"{name}, quality {profile.levels[positions[name]].quality:.3f}" for name in names]
    axes.legend(
        [Patch(color=colour) for colour in reversed(colours)],
        labels[::-1],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=SMALL,
        labelspacing=0.25,
        handlelength=1.0,
        handleheight=0.9,
    )
    _set_title(axes, f"Level that answered ({policy}), share of the answers")


def draw_latency(axes: Axes, lines: Sequence[LoadLine], deadline_s: float) -> None:
    """Draw the latency of the answers; values above `_MAX_DEADLINES_SHOWN` deadlines become triangles at the top."""
    deadline_ms = 1000 * deadline_s
    limit_ms = _MAX_DEADLINES_SHOWN * deadline_ms
    _draw_lines(axes, lines, lambda line: np.minimum(_latencies_ms(line.timeline), limit_ms))
    axes.set_yscale("log")
    low_ms, high_ms = axes.get_ylim()
    highest_ms = max(_known(_latencies_ms(line.timeline)).max(initial=0.0) for line in lines)
    if not highest_ms:
        low_ms, high_ms = deadline_ms / 100, 0.0
    low_ms = min(0.8 * low_ms, deadline_ms / 2)
    above_ms = deadline_ms * (deadline_ms / low_ms) ** (_DEADLINE_ROOM / (1 - _DEADLINE_ROOM))
    high_ms = max(min(high_ms, 1.15 * limit_ms), above_ms)
    axes.set_ylim(low_ms, high_ms)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high_ms < 300 * low_ms else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    if highest_ms > limit_ms:
        for line in lines:
            above = _latencies_ms(line.timeline) > limit_ms
            middles_s = (_edges_s(line.timeline)[:-1] + line.timeline.interval_s / 2)[above]
            style: dict[str, Any] = {"color": line.style["color"], "clip_on": False, "zorder": 4}
            axes.plot(middles_s, np.full(len(middles_s), limit_ms), "^", markersize=5, **style)
        _set_remark(axes, f"\N{BLACK UP-POINTING TRIANGLE} above {limit_ms:,g} ms, up to {highest_ms:,.0f} ms")
    axes.axhline(deadline_ms, color=INK, linewidth=1.4, linestyle=_LIMIT_DASHES)
    _annotate(axes, 0, deadline_ms, (2, 3), f"deadline, {deadline_ms:,g} ms", fontweight="bold")
    _set_title(axes, "Latency of the answers, 99th percentile, ms")


def draw_quality(axes: Axes, lines: Sequence[LoadLine], profile: Profile) -> None:
    """Draw the quality, at which late and rejected queries count 0.

    The levels are close together, and policies that reject many queries are far below all of them. So that both are
    visible, the scale is coarser below the levels.
    """
    qualities = [level.quality for level in profile.levels]
    best = max(qualities)
    coarse = max(0.0, round(min(qualities) - 0.4 * (best - min(qualities)) - 0.01, 2))
    _draw_lines(axes, lines, lambda line: _floats(line.timeline.retention))
    lowest = min(_known(_floats(line.timeline.retention)).min(initial=best) for line in lines)
    if lowest >= coarse or coarse < _MIN_COARSE_QUALITY:
        bottom = coarse if lowest >= coarse else 0.0
        margin = 0.08 * (best - bottom)
        axes.set_ylim(bottom - margin, best + margin)
    else:
        _set_two_scales(axes, coarse, best)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:.3g}"))
    _set_title(axes, "Quality: mean share of the best level's; late or rejected count 0")


def shade_overload(axes: Axes, timeline: Timeline, capacity_per_s: float) -> None:
    """Shade the times at which the rate was above a capacity; none if that is 0."""
    is_overload = [float(rate_per_s > capacity_per_s > 0) for rate_per_s in timeline.arrivals_per_s]
    style: dict[str, Any] = {"fill": True, "color": _OVERLOAD_COLOUR, "linewidth": 0, "zorder": 0}
    axes.stairs(is_overload, _edges_s(timeline), transform=axes.get_xaxis_transform(), **style)


def _set_two_scales(axes: Axes, coarse: float, best: float) -> None:
    """Use a coarser scale from 0 to `coarse` than from there to `best`, and say so."""
    values = np.asarray([coarse - 1, coarse, coarse + 1])
    fine_slope = (1 - _COARSE_SHARE) / (best - coarse)
    places = np.asarray([_COARSE_SHARE * (1 - 1 / coarse), _COARSE_SHARE, _COARSE_SHARE + fine_slope])
    axes.set_yscale(
        "function", functions=(lambda value: np.interp(value, values, places), lambda p: np.interp(p, places, values))
    )
    axes.set_ylim(-0.1 * coarse, best + 0.08 * (best - coarse))
    fine_ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(coarse, best)
    axes.set_yticks([0, 0.5, coarse, *(tick for tick in fine_ticks if coarse + 0.15 * (best - coarse) < tick <= best)])
    axes.axhline(coarse, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    _set_remark(axes, f"coarser scale below {coarse:g}")


def _draw_lines(axes: Axes, lines: Sequence[LoadLine], values_of: Callable[[LoadLine], NDArray[np.float64]]) -> None:
    for number, line in enumerate(lines):
        # The last value twice, as its step ends at the last edge.
        values = values_of(line)
        values = np.append(values, values[-1:])
        axes.plot(_edges_s(line.timeline), values, drawstyle="steps-post", zorder=2 + 0.1 * number, **line.style)


def _latencies_ms(timeline: Timeline) -> NDArray[np.float64]:
    return 1000 * _floats(timeline.p99_s)


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return values with NaN for None."""
    return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


def _edges_s(timeline: Timeline) -> NDArray[np.float64]:
    edges_s: NDArray[np.float64] = timeline.interval_s * np.arange(len(timeline.arrivals_per_s) + 1, dtype=np.float64)
    return edges_s


def _annotate(axes: Axes, x: float, y: float, offset: tuple[float, float], text: str, **style: Any) -> None:
    """Write a text at a value on the left (0) or right (1) edge, moved by an offset in points."""
    style |= {"xycoords": ("axes fraction", "data"), "xytext": offset, "textcoords": "offset points"}
    axes.annotate(text, (x, y), fontsize=SMALL, **style)


def _set_title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=NORMAL, color=INK)


def _set_remark(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="right", fontsize=SMALL, color=INK)
