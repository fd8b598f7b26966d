"""Chart of a profile: the quality of each level against its cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.reports.charts.style import NORMAL, SMALL, new_figure, report_style, svg_of
from elasticdenser.reports.palette import BLUE, INK, MUTED


def draw_profile(path: Path, profile: Profile) -> Path:
    """Draw quality against the time of a query, alone and in the best batch, as SVG, and return the path.

    The levels that the elastic policy uses are in colour and connected.
    """
    with report_style("profile"):
        figure = new_figure(10, 4.2)
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_levels(left, profile, [1000 * level.latency_s[1] for level in profile.levels])
        left.set_title("Time of a single query, ms", loc="left", fontsize=NORMAL, color=INK)
        _draw_levels(right, profile, [1000 / level.capacity_per_s() for level in profile.levels])
        right.set_title("Time per query in the best batch, ms", loc="left", fontsize=NORMAL, color=INK)
        left.set_ylabel("share of the full encoder's quality")
        figure.tight_layout()
        with atomic_write(path) as file:
            file.write(svg_of(figure, "profile"))
    return path


def _draw_levels(axes: Axes, profile: Profile, times_ms: Sequence[float]) -> None:
    for position, level in enumerate(profile.levels):
        is_used = position in profile.hull
        axes.plot(times_ms[position], level.quality, "o", color=BLUE if is_used else MUTED, markersize=5)
        axes.annotate(
            level.name,
            (times_ms[position], level.quality),
            (4, -3),
            textcoords="offset points",
            va="top",
            fontsize=SMALL,
            color=INK if is_used else MUTED,
        )
    axes.plot(
        [times_ms[position] for position in profile.hull],
        [profile.levels[position].quality for position in profile.hull],
        color=BLUE,
        linewidth=1,
        zorder=0,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.12)
