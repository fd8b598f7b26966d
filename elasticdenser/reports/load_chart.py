"""One picture of a load and what policies made of it, over time: rate, level that answered, latency, and quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.summary import Summary, Timeline
from elasticdenser.reports.figures import NORMAL, SMALL, new_figure, report_style, svg_of
from elasticdenser.reports.palette import BLUE, INK, MUTED

# Okabe and Ito's colours for all kinds of colour vision; the first is that of the policy in front.
_COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_SHADE = "#f6e3b4"
_WIDTH = 9.0
"""Inches: at 800 pixels the smallest text is 10 pixels high."""
_RIGHT = 0.665
_COLUMNS = (0.868, 0.928, 0.99)
"""Where the rows end, and the columns of the table beside them, as shares of the width."""


def draw(
    folder: Path,
    summaries: Sequence[Summary],
    courses: Mapping[str, Timeline],
    profile: Profile,
    *,
    workers: int,
    deadline_s: float,
    title: str,
    name: str = "simulation",
    simulated: Mapping[str, Summary] | None = None,
) -> list[Path]:
    """Draw the picture of one load as SVG and PNG, and return their paths.

    Args:
        folder: Where to; must exist.
        summaries: One for each policy; the levels of the first one are shown over time.
        courses: By policy.
        profile: The levels.
        workers: Number of workers; 0 leaves out what the levels can do.
        deadline_s: Each request's.
        title: Says what the load was.
        name: Of the files.
        simulated: What the simulator says where the summaries are real, by policy.
    """
    first = courses[summaries[0].policy]
    with report_style(name):
        figure = new_figure(_WIDTH, max(8.0, 5.4 + 0.19 * len(summaries) * (2 if simulated else 1)))
        figure.text(0.012, 0.985, title[:1].upper() + title[1:], va="top", fontsize=11, fontweight="bold", color=INK)
        grid = figure.add_gridspec(4, 1, height_ratios=(1, 1, 1.25, 1.25), hspace=0.36)
        grid.update(left=0.07, right=_RIGHT, top=0.915, bottom=0.06)
        load = figure.add_subplot(grid[0])
        rows = [load, *(figure.add_subplot(grid[number], sharex=load) for number in (1, 2, 3))]
        _draw_load(load, first, profile, workers)
        _draw_levels(rows[1], first, profile, summaries[0].policy)
        _draw_latency(rows[2], summaries, courses, deadline_s)
        _draw_quality(rows[3], summaries, courses, profile)
        _write_table(figure, rows[2].get_position().y1, summaries, simulated or {})
        for axes in rows:
            axes.tick_params(labelbottom=axes is rows[-1])
            _shade(axes, first, workers * profile.levels[0].capacity_per_s())
        rows[-1].set_xlabel("seconds")
        paths = [folder / f"{name}.svg", folder / f"{name}.png"]
        with atomic_write(paths[0]) as file:
            file.write(svg_of(figure, name))
        with atomic_write(paths[1], "wb") as file:
            figure.savefig(file, format="png", dpi=200)
    return paths


def _draw_load(axes: Axes, course: Timeline, profile: Profile, workers: int) -> None:
    axes.stairs(course.arrivals_per_s, _edges_s(course), fill=True, color=MUTED, alpha=0.55)
    largest = max(course.arrivals_per_s)
    for level, what in ((profile.levels[0], "best level"), (profile.levels[profile.hull[-1]], "fastest level")):
        capacity = workers * level.capacity_per_s()
        if 0 < capacity < 1.6 * largest:
            axes.axhline(capacity, color=INK, linewidth=1, linestyle=(0, (4, 2)))
            _note(axes, 1, capacity, (5, 0), f"{what} can do {capacity:,.0f}", va="center")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, course.interval_s * len(course.arrivals_per_s))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    _title(axes, f"Load, queries a second{'; shaded: more than the best level can do' if workers else ''}")


def _draw_levels(axes: Axes, course: Timeline, profile: Profile, policy: str) -> None:
    names = list(course.levels)
    shares = np.asarray([[share or 0.0 for share in course.levels[name]] for name in names])
    # From dark, the best, to light: by place in the profile, so that a level looks the same in all pictures of it.
    scale = matplotlib.colormaps["Blues_r"]
    colours = [scale(0.05 + 0.75 * profile.level_index(name) / max(1, len(profile.levels) - 1)) for name in names]
    tops = shares.cumsum(axis=0) if names else shares
    for top, colour in reversed(list(zip(tops, colours, strict=True))):
        axes.stairs(top, _edges_s(course), fill=True, color=colour)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    found = [(name, profile.levels[profile.level_index(name)].quality) for name in names]
    axes.legend(
        [Patch(color=colour) for colour in reversed(colours)],
        [f"{name}, quality {quality:.3f}" for name, quality in reversed(found)],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=SMALL,
        labelspacing=0.25,
        handlelength=1.0,
        handleheight=0.9,
    )
    _title(axes, f"Level that answered ({policy}), share of its answers")


def _draw_latency(axes: Axes, summaries: Sequence[Summary], courses: Mapping[str, Timeline], deadline_s: float) -> None:
    deadline_ms = 1000 * deadline_s
    # What is many deadlines late shows as that; it need not flatten what is in time.
    most_ms = 8 * deadline_ms
    _draw_lines(
        axes, summaries, courses, lambda one: [None if s is None else min(1000 * s, most_ms) for s in one.p99_s]
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    lowest_ms, highest_ms = axes.get_ylim()
    axes.set_ylim(max(lowest_ms, deadline_ms / 100), max(highest_ms, 1.6 * deadline_ms))
    axes.axhline(deadline_ms, color=INK, linewidth=1.4, linestyle=(0, (4, 2)))
    _note(axes, 0, deadline_ms, (2, 3), f"deadline, {deadline_ms:g} ms", fontweight="bold")
    _title(axes, "Latency of answers, 99th percentile, ms")


def _draw_quality(axes: Axes, summaries: Sequence[Summary], courses: Mapping[str, Timeline], profile: Profile) -> None:
    # Levels lie close together; what is worse than all of them is so because it turns queries away.
    qualities = [level.quality for level in profile.levels]
    lowest = max(0.0, round(min(qualities) - 0.4 * (max(qualities) - min(qualities)) - 0.01, 2))
    margin = 0.08 * (max(qualities) - lowest)
    _draw_lines(axes, summaries, courses, lambda one: [None if q is None else max(q, lowest) for q in one.retention])
    axes.set_ylim(lowest - margin, max(qualities) + margin)
    ticks = [lowest, *(tick for tick in axes.get_yticks() if lowest + 2 * margin < tick <= max(qualities) + margin)]
    axes.set_yticks(ticks, [f"≤ {lowest:.2f}" if lowest else "0", *(f"{tick:.3g}" for tick in ticks[1:])])
    _title(axes, "Quality delivered: mean share of the best level's; late or refused counts 0")


def _draw_lines(
    axes: Axes,
    summaries: Sequence[Summary],
    courses: Mapping[str, Timeline],
    values: Callable[[Timeline], Sequence[float | None]],
) -> None:
    for number, summary in reversed(list(enumerate(summaries))):
        course = courses[summary.policy]
        middles_s = _edges_s(course)[:-1] + course.interval_s / 2
        drawn = [np.nan if value is None else value for value in values(course)]
        look: dict[str, Any] = {
            "color": _colour(number),
            "linestyle": _dashes(number),
            "linewidth": 2.2 if number == 0 else 1.2,
        }
        axes.plot(middles_s, drawn, drawstyle="steps-mid", **look)


def _write_table(figure: Figure, at: float, summaries: Sequence[Summary], simulated: Mapping[str, Summary]) -> None:
    """Write beside the rows which line is whose, and what each policy comes to."""
    step = 15 / (72 * figure.get_figheight())
    _write_row(figure, at, "all in all", ("in time", "p99 ms", "quality"), color=MUTED)
    for number, one in enumerate(summaries):
        at -= step
        line: dict[str, Any] = {
            "color": _colour(number),
            "linestyle": _dashes(number),
            "linewidth": 2.4 if number == 0 else 1.6,
        }
        figure.add_artist(matplotlib.lines.Line2D([_RIGHT + 0.012, _RIGHT + 0.034], [at + 0.006] * 2, **line))
        weight = "bold" if number == 0 else "normal"
        _write_row(figure, at, one.policy, _figures_of(one), fontweight=weight)
        if beside := simulated.get(one.policy):
            at -= step
            _write_row(figure, at, "as simulated", _figures_of(beside), color=MUTED)


def _figures_of(one: Summary) -> tuple[str, str, str]:
    p99_ms = "-" if one.p99_s is None else f"{1000 * one.p99_s:.1f}"
    return f"{one.in_time:.2%}", p99_ms, f"{one.retention:.3f}"


def _write_row(figure: Figure, at: float, name: str, figures: Sequence[str], **look: Any) -> None:
    figure.text(_RIGHT + 0.042, at, name, fontsize=SMALL, **look)
    for right, text in zip(_COLUMNS, figures, strict=True):
        figure.text(right, at, text, ha="right", fontsize=SMALL, **look)


def _shade(axes: Axes, course: Timeline, capacity_per_s: float) -> None:
    """Mark when more came than the best level can do."""
    is_more = [float(rate_per_s > capacity_per_s > 0) for rate_per_s in course.arrivals_per_s]
    look: dict[str, Any] = {"fill": True, "color": _SHADE, "linewidth": 0, "zorder": 0}
    axes.stairs(is_more, _edges_s(course), transform=axes.get_xaxis_transform(), **look)


def _edges_s(course: Timeline) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return course.interval_s * np.arange(len(course.arrivals_per_s) + 1, dtype=float)


def _note(axes: Axes, x: float, y: float, offset: tuple[float, float], text: str, **look: Any) -> None:
    """Write at a value of the left (0) or right (1) edge, so many points away from it."""
    look |= {"xycoords": ("axes fraction", "data"), "xytext": offset, "textcoords": "offset points"}
    axes.annotate(text, (x, y), fontsize=SMALL, **look)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _dashes(number: int) -> object:
    return _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=NORMAL, color=INK)
