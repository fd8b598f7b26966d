"""One picture of a load and what policies made of it: rate, level and latency over time, and the policies compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profile import Profile
from elasticdenser.engine.summary import Course, Summary
from elasticdenser.reports.figures import SMALL, new_figure, report_style, svg_of
from elasticdenser.reports.palette import BLUE, GRID, INK, MUTED, PAPER

# Okabe and Ito's colours for all kinds of colour vision; the first is that of the policy in front.
_COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def draw(
    folder: Path,
    summaries: Sequence[Summary],
    courses: Mapping[str, Course],
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
    with report_style(name):
        figure = new_figure(11, max(6.4, 0.55 * len(summaries)))
        figure.suptitle(title, x=0.07, y=0.975, ha="left", fontsize=11, color=INK)
        grid = figure.add_gridspec(
            3, 2, width_ratios=(1.75, 1), height_ratios=(1, 1, 1.25), left=0.07, right=0.985, top=0.9, bottom=0.08
        )
        grid.update(wspace=0.42, hspace=0.42)
        first = courses[summaries[0].policy]
        load = figure.add_subplot(grid[0, 0])
        _draw_load(load, first, profile, workers)
        levels = figure.add_subplot(grid[1, 0], sharex=load)
        _draw_levels(levels, first, profile, summaries[0].policy)
        latency = figure.add_subplot(grid[2, 0], sharex=load)
        _draw_latency(latency, summaries, courses, deadline_s)
        for axes in (load, levels):
            axes.tick_params(labelbottom=False)
        _draw_comparison(figure.add_subplot(grid[:, 1]), summaries, simulated or {})
        paths = [folder / f"{name}.svg", folder / f"{name}.png"]
        with atomic_write(paths[0]) as file:
            file.write(svg_of(figure, name))
        with atomic_write(paths[1], "wb") as file:
            figure.savefig(file, format="png", dpi=150)
    return paths


def _times_s(course: Course) -> list[float]:
    return [course.interval_s * (number + 0.5) for number in range(len(course.arrivals_per_s))]


def _draw_load(axes: Axes, course: Course, profile: Profile, workers: int) -> None:
    edges_s = [course.interval_s * number for number in range(len(course.arrivals_per_s) + 1)]
    axes.stairs(course.arrivals_per_s, edges_s, fill=True, color=MUTED, alpha=0.35)
    largest = max(course.arrivals_per_s)
    for level in (profile.levels[0], profile.levels[profile.hull[-1]]):
        capacity = workers * level.capacity_per_s()
        if 0 < capacity < 1.6 * largest:
            axes.axhline(capacity, color=INK, linewidth=1, linestyle=(0, (4, 2)))
            label = f" {level.name} can do"
            axes.annotate(label, (1, capacity), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, course.interval_s * len(course.arrivals_per_s))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    _title(axes, "Load: requests a second")


def _draw_levels(axes: Axes, course: Course, profile: Profile, policy: str) -> None:
    names = list(course.levels)
    shares = np.asarray([[share or 0.0 for share in course.levels[name]] for name in names])
    # From dark, the best, to light: by place in the profile, so that a level looks the same in all pictures of it.
    scale = matplotlib.colormaps["Blues_r"]
    places = [profile.place(name) / max(1, len(profile.levels) - 1) for name in names]
    colours = [scale(0.1 + 0.75 * place) for place in places]
    tops = shares[::-1].cumsum(axis=0)
    edges_s = course.interval_s * np.arange(shares.shape[1] + 1)
    for top, colour in reversed(list(zip(tops, colours[::-1], strict=True))):
        axes.stairs(top, edges_s, fill=True, color=colour)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = [matplotlib.patches.Patch(color=colour) for colour in colours], names
    axes.legend(
        handles,
        labels,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        fontsize=SMALL,
        labelspacing=0.2,
        handlelength=1.0,
    )
    _title(axes, f"Level that answered ({policy})")


def _draw_latency(axes: Axes, summaries: Sequence[Summary], courses: Mapping[str, Course], deadline_s: float) -> None:
    for number, summary in reversed(list(enumerate(summaries))):
        course = courses[summary.policy]
        values = [np.nan if value is None else 1000 * value for value in course.p99_s]
        width = 2.0 if number == 0 else 0.9
        axes.plot(_times_s(course), values, color=_colour(number), linestyle=_dashes(number), linewidth=width)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(1000 * deadline_s, color="#b00020", linewidth=1.2)
    where = (1, 1000 * deadline_s)
    axes.annotate(" deadline", where, xycoords=("axes fraction", "data"), va="center", fontsize=SMALL, color="#b00020")
    axes.set_xlabel("seconds")
    _title(axes, "Latency of answers, 99th percentile, ms (colours as at the right)")


def _draw_comparison(axes: Axes, summaries: Sequence[Summary], simulated: Mapping[str, Summary]) -> None:
    for number, one in enumerate(summaries):
        p99 = "no answer" if one.p99_s is None else f"p99 {1000 * one.p99_s:.1f} ms"
        axes.barh(number, one.retention, height=0.34, color=_colour(number), hatch=_hatch(number), edgecolor=PAPER)
        name = axes.annotate(one.policy, (0, number - 0.2), va="bottom", fontsize=9)
        if number == 0:
            name.set_fontweight("bold")
        axes.annotate(
            f"{one.in_time:.2%} in time, {p99}",
            (1.12, number - 0.2),
            va="bottom",
            ha="right",
            fontsize=SMALL,
            color=MUTED,
        )
        end = one.retention
        if beside := simulated.get(one.policy):
            axes.plot([beside.retention] * 2, [number - 0.17, number + 0.17], color=INK, linewidth=1.6)
            end = max(end, beside.retention)
        axes.annotate(f" {one.retention:.3f}", (end, number), va="center", fontsize=9)
    axes.set_ylim(len(summaries) - 0.6, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID)
    axes.set_xlabel("mean share of the best level's quality")
    _title(axes, f"Quality that users got; {'line: as simulated' if simulated else 'late or refused: 0'}")


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _dashes(number: int) -> object:
    return _DASHES[number // len(_COLOURS) % len(_DASHES)]


def _hatch(number: int) -> str:
    """Tell apart what shares a colour, as the dashes of its line do."""
    return ("", "///", "...", "xxx")[number // len(_COLOURS) % 4]


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9, color=INK)
