"""A picture of a profile: what each level is worth, over what it costs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from elasticdenser.artifacts import atomic_write
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.reports.figures import SMALL, new_figure, report_style, svg_of
from elasticdenser.reports.palette import BLUE, INK, MUTED


def draw_profile(path: Path, profile: Profile) -> Path:
    """Draw quality over the time of a query, alone and in the best batch, as SVG, and return the path.

    Levels that the elastic policy uses are in colour and joined.
    """
    with report_style("profile"):
        figure = new_figure(10, 4.2)
        sides = figure.subplots(1, 2, sharey=True)
        costs = (
            ("One query alone, ms", [1000 * level.latency_s[1] for level in profile.levels]),
            ("A query in the best batch, ms", [1000 / level.capacity_per_s() for level in profile.levels]),
        )
        for axes, (title, ms) in zip(sides, costs, strict=True):
            for place, level in enumerate(profile.levels):
                colour = BLUE if place in profile.hull else MUTED
                axes.plot(ms[place], level.quality, "o", color=colour, markersize=5)
                axes.annotate(
                    level.name,
                    (ms[place], level.quality),
                    (4, -3),
                    textcoords="offset points",
                    va="top",
                    fontsize=SMALL,
                    color=INK if place in profile.hull else MUTED,
                )
            axes.plot(
                [ms[place] for place in profile.hull],
                [profile.levels[place].quality for place in profile.hull],
                color=BLUE,
                linewidth=1,
                zorder=0,
            )
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.15, y=0.12)
            axes.set_title(title, loc="left", fontsize=9, color=INK)
        sides[0].set_ylabel("share of the full size's quality")
        figure.tight_layout()
        with atomic_write(path) as file:
            file.write(svg_of(figure, "profile"))
    return path
