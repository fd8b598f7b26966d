"""Chart of a load and of what policies did with it, over time: rate, level that answered, latency and quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.summary import Summary, Timeline
from elasticdenser.reports.charts.style import NORMAL, POINTS_PER_INCH, SMALL, new_figure, report_style, svg_of
from elasticdenser.reports.palette import INK, MUTED, SERIES_COLOURS, SERIES_DASHES

_COLOURS = (*SERIES_COLOURS, INK)
_OVERLOAD_COLOUR = "#f6e3b4"

_WIDTH = 9.0
"""Inches: at a width of 800 pixels the smallest text is 10 pixels high."""

_ROWS_RIGHT = 0.665
_TABLE_COLUMNS = (0.868, 0.928, 0.99)
"""Right ends of the rows, and of the columns of the table beside them, as shares of the width."""

_TABLE_LINE_HEIGHT = 15.0
"""Distance in points between the lines of the table."""

_MAX_DEADLINES_SHOWN = 8
"""Latencies above this many deadlines are drawn at this height, so that they do not flatten those in time."""

_LIMIT_DASHES = (0, (4, 2))


def draw_load(
    folder: Path,
    summaries: Sequence[Summary],
    timelines: Mapping[str, Timeline],
    profile: Profile,
    *,
    workers: int,
    deadline_s: float,
    title: str,
    name: str = "simulation",
    simulated: Mapping[str, Summary] | None = None,
) -> list[Path]:
    """Draw the chart of a load as SVG and PNG, and return their paths.

    Args:
        folder: Existing folder for the files.
        summaries: A summary for each policy; the levels of the first one are shown over time.
        timelines: Policy -> its timeline.
        profile: The levels.
        workers: Number of workers; 0 leaves out the capacity of the levels.
        deadline_s: Deadline of each request.
        title: Description of the load.
        name: Name of the files.
        simulated: Policy -> its simulated summary, if `summaries` are measured.
    """
    first = timelines[summaries[0].policy]
    with report_style(name):
        n_table_lines = len(summaries) * (2 if simulated else 1)
        figure = new_figure(_WIDTH, max(8.0, 5.4 + 0.19 * n_table_lines))
        figure.text(0.012, 0.985, title[:1].upper() + title[1:], va="top", fontsize=11, fontweight="bold", color=INK)
        grid = figure.add_gridspec(4, 1, height_ratios=(1, 1, 1.25, 1.25), hspace=0.36)
        grid.update(left=0.07, right=_ROWS_RIGHT, top=0.915, bottom=0.06)
        load = figure.add_subplot(grid[0])
        rows = [load, *(figure.add_subplot(grid[number], sharex=load) for number in (1, 2, 3))]
        _draw_rate(load, first, profile, workers)
        _draw_levels(rows[1], first, profile, summaries[0].policy)
        _draw_latency(rows[2], summaries, timelines, deadline_s)
        _draw_quality(rows[3], summaries, timelines, profile)
        _write_table(figure, rows[2].get_position().y1, summaries, simulated or {})
        for axes in rows:
            axes.tick_params(labelbottom=axes is rows[-1])
            _shade_overload(axes, first, workers * profile.levels[0].capacity_per_s())
        rows[-1].set_xlabel("seconds")
        svg_path, png_path = folder / f"{name}.svg", folder / f"{name}.png"
        with atomic_write(svg_path) as file:
            file.write(svg_of(figure, name))
        with atomic_write(png_path, "wb") as file:
            figure.savefig(file, format="png", dpi=200)
    return [svg_path, png_path]


def _draw_rate(axes: Axes, timeline: Timeline, profile: Profile, workers: int) -> None:
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


def _draw_levels(axes: Axes, timeline: Timeline, profile: Profile, policy: str) -> None:
    names = list(timeline.levels)
    shares = np.asarray([[share or 0.0 for share in timeline.levels[name]] for name in names])
    # From dark (best) to light, by position in the profile: a level has the same colour in all charts of a profile.
    positions = {level.name: position for position, level in enumerate(profile.levels)}
    scale = matplotlib.colormaps["Blues_r"]
    colours = [scale(0.05 + 0.75 * positions[name] / max(1, len(profile.levels) - 1)) for name in names]
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


def _draw_latency(
    axes: Axes, summaries: Sequence[Summary], timelines: Mapping[str, Timeline], deadline_s: float
) -> None:
    deadline_ms = 1000 * deadline_s
    highest_ms = _MAX_DEADLINES_SHOWN * deadline_ms
    _draw_lines(
        axes,
        summaries,
        timelines,
        lambda timeline: [None if p99_s is None else min(1000 * p99_s, highest_ms) for p99_s in timeline.p99_s],
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    low_ms, high_ms = axes.get_ylim()
    axes.set_ylim(max(low_ms, deadline_ms / 100), max(high_ms, 1.6 * deadline_ms))
    axes.axhline(deadline_ms, color=INK, linewidth=1.4, linestyle=_LIMIT_DASHES)
    _annotate(axes, 0, deadline_ms, (2, 3), f"deadline, {deadline_ms:g} ms", fontweight="bold")
    _set_title(axes, "Latency of the answers, 99th percentile, ms")


def _draw_quality(
    axes: Axes, summaries: Sequence[Summary], timelines: Mapping[str, Timeline], profile: Profile
) -> None:
    # The levels are close together. Policies that reject many queries are far below all levels: they are drawn at the
    # lower limit, so that the differences between levels stay visible.
    qualities = [level.quality for level in profile.levels]
    lowest = max(0.0, round(min(qualities) - 0.4 * (max(qualities) - min(qualities)) - 0.01, 2))
    margin = 0.08 * (max(qualities) - lowest)
    _draw_lines(
        axes,
        summaries,
        timelines,
        lambda timeline: [None if quality is None else max(quality, lowest) for quality in timeline.retention],
    )
    axes.set_ylim(lowest - margin, max(qualities) + margin)
    ticks = [lowest, *(tick for tick in axes.get_yticks() if lowest + 2 * margin < tick <= max(qualities) + margin)]
    axes.set_yticks(ticks, [f"≤ {lowest:.2f}" if lowest else "0", *(f"{tick:.3g}" for tick in ticks[1:])])
    _set_title(axes, "Quality: mean share of the best level's; late and rejected queries count 0")


def _draw_lines(
    axes: Axes,
    summaries: Sequence[Summary],
    timelines: Mapping[str, Timeline],
    values_of: Callable[[Timeline], Sequence[float | None]],
) -> None:
    for number, summary in reversed(list(enumerate(summaries))):
        timeline = timelines[summary.policy]
        middles_s = _edges_s(timeline)[:-1] + timeline.interval_s / 2
        values = [np.nan if value is None else value for value in values_of(timeline)]
        axes.plot(middles_s, values, drawstyle="steps-mid", **_line_style(number, 2.2, 1.2))


def _write_table(figure: Figure, top: float, summaries: Sequence[Summary], simulated: Mapping[str, Summary]) -> None:
    """Write the table beside the rows, which is their legend and shows the figures of each policy."""
    line_height = _TABLE_LINE_HEIGHT / (POINTS_PER_INCH * figure.get_figheight())
    y = top
    _write_table_row(figure, y, "whole load", ("in time", "p99 ms", "quality"), color=MUTED)
    for number, summary in enumerate(summaries):
        y -= line_height
        sample_x = [_ROWS_RIGHT + 0.012, _ROWS_RIGHT + 0.034]
        figure.add_artist(Line2D(sample_x, [y + 0.006] * 2, **_line_style(number, 2.4, 1.6)))
        weight = "bold" if number == 0 else "normal"
        _write_table_row(figure, y, summary.policy, _table_figures(summary), fontweight=weight)
        if summary.policy in simulated:
            y -= line_height
            _write_table_row(figure, y, "as simulated", _table_figures(simulated[summary.policy]), color=MUTED)


def _table_figures(summary: Summary) -> tuple[str, str, str]:
    p99_ms = "-" if summary.p99_s is None else f"{1000 * summary.p99_s:.1f}"
    return f"{summary.in_time:.2%}", p99_ms, f"{summary.retention:.3f}"


def _write_table_row(figure: Figure, y: float, name: str, figures: Sequence[str], **style: Any) -> None:
    figure.text(_ROWS_RIGHT + 0.042, y, name, fontsize=SMALL, **style)
    for right, text in zip(_TABLE_COLUMNS, figures, strict=True):
        figure.text(right, y, text, ha="right", fontsize=SMALL, **style)


def _shade_overload(axes: Axes, timeline: Timeline, capacity_per_s: float) -> None:
    """Shade the times at which the rate was above the capacity of the best level."""
    is_overload = [float(rate_per_s > capacity_per_s > 0) for rate_per_s in timeline.arrivals_per_s]
    style: dict[str, Any] = {"fill": True, "color": _OVERLOAD_COLOUR, "linewidth": 0, "zorder": 0}
    axes.stairs(is_overload, _edges_s(timeline), transform=axes.get_xaxis_transform(), **style)


def _edges_s(timeline: Timeline) -> NDArray[np.float64]:
    edges_s: NDArray[np.float64] = timeline.interval_s * np.arange(len(timeline.arrivals_per_s) + 1, dtype=np.float64)
    return edges_s


def _annotate(axes: Axes, x: float, y: float, offset: tuple[float, float], text: str, **style: Any) -> None:
    """Write a text at a value on the left (0) or right (1) edge, moved by an offset in points."""
    style |= {"xycoords": ("axes fraction", "data"), "xytext": offset, "textcoords": "offset points"}
    axes.annotate(text, (x, y), fontsize=SMALL, **style)


def _line_style(number: int, first_width: float, width: float) -> dict[str, Any]:
    """Return colour and dashes of a policy's line; the line of the first policy is wider."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": SERIES_DASHES[number // len(_COLOURS) % len(SERIES_DASHES)],
        "linewidth": first_width if number == 0 else width,
    }


def _set_title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=NORMAL, color=INK)
