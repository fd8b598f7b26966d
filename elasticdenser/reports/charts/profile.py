"""Chart of a profile: the quality of each level against its cost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profiling.filters import FilterFigures
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.reports.charts.labels import Point, label_points
from elasticdenser.reports.charts.style import NORMAL, new_figure, report_style, svg_of
from elasticdenser.reports.level_colours import level_colour
from elasticdenser.reports.palette import INK, MUTED, PAPER

_LINE_PIECES = 20

FilterKey = Literal["relative_time", "recall"]


def draw_profile(path: Path, profile: Profile) -> Path:
    """Draw quality against the time of a query, alone and in the best batch, as SVG, and return the path.

    The levels that the elastic policy uses are filled and connected; each level has its colour of `level_colours`. A
    second row shows filters, if they were measured.
    """
    filters = profile.measured.get("filters")
    with report_style("profile"):
        figure = new_figure(10, 7.4 if filters else 4.2)
        grid = figure.add_gridspec(2 if filters else 1, 2)
        left = figure.add_subplot(grid[0, 0])
        right = figure.add_subplot(grid[0, 1], sharey=left)
        right.tick_params(labelleft=False)
        times_ms = [1000 * level.latency_s[1] for level in profile.levels]
        times_in_batch_ms = [1000 / level.capacity_per_s() for level in profile.levels]
        _draw_levels(left, profile, times_ms)
        _draw_levels(right, profile, times_in_batch_ms)
        left.set_title("Time of a single query, ms", loc="left", fontsize=NORMAL, color=INK)
        right.set_title("Time per query in the best batch, ms", loc="left", fontsize=NORMAL, color=INK)
        left.set_ylabel("share of the full encoder's quality")
        if filters:
            _draw_filters(figure.add_subplot(grid[1, 0]), filters, "relative_time", "Time with a filter, without = 1")
            _draw_filters(figure.add_subplot(grid[1, 1]), filters, "recall", "Recall with a filter")
        figure.tight_layout()
        # The places of names depend on those of the axes.
        _label_levels(left, profile, times_ms)
        _label_levels(right, profile, times_in_batch_ms)
        with atomic_write(path) as file:
            file.write(svg_of(figure, "profile"))
    return path


def _draw_filters(axes: Axes, filters: Sequence[FilterFigures], key: FilterKey, title: str) -> None:
    shares = [figures["share"] for figures in filters]
    axes.plot(shares, [figures[key] for figures in filters], "o-", color=MUTED, markersize=6, linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.1 * max(1, *(figures[key] for figures in filters)))
    axes.set_xlabel("share of the passages that match")
    axes.set_title(title, loc="left", fontsize=NORMAL, color=INK)


def _draw_levels(axes: Axes, profile: Profile, times_ms: Sequence[float]) -> None:
    for position, level in enumerate(profile.levels):
        colour = level_colour(position, len(profile.levels))
        face = colour if position in profile.hull else PAPER
        axes.plot(times_ms[position], level.quality, "o", color=colour, markerfacecolor=face, markersize=6)
    qualities = [profile.levels[position].quality for position in profile.hull]
    axes.plot([times_ms[position] for position in profile.hull], qualities, color=MUTED, linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.12)


def _label_levels(axes: Axes, profile: Profile, times_ms: Sequence[float]) -> None:
    """Write the name of each level beside its point; those of the hull are placed first."""
    qualities = [level.quality for level in profile.levels]
    order = sorted(range(len(qualities)), key=lambda position: position not in profile.hull)
    points = [
        Point(name=profile.levels[p].name, x=times_ms[p], y=qualities[p], low=qualities[p], high=qualities[p])
        for p in order
    ]
    corners: list[tuple[float, float]] = []
    for start, end in itertools.pairwise(profile.hull):
        # In short pieces, as names keep clear of the rectangle around each piece. The axis of time is logarithmic.
        xs = np.geomspace(times_ms[start], times_ms[end], _LINE_PIECES).tolist()
        ys = np.linspace(qualities[start], qualities[end], _LINE_PIECES).tolist()
        corners += zip(xs, ys, strict=True)
    label_points(axes, points, corners)
