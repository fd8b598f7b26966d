"""Style of all charts: figures without the global state of matplotlib, and SVG that is the same for the same data."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties

from elasticdenser.reports.palette import GRID, INK, MUTED, PAPER

POINTS_PER_INCH = 72
SMALL, NORMAL = 8.0, 9.0
"""Font sizes in points."""

FULL_WIDTH, HALF_WIDTH = 10.9, 5.35
"""Widths of charts in inches: the width of the report's page, and half of it, for two charts side by side."""

MARGINS = {"left": 48.0, "bottom": 40.0, "top": 14.0}
"""Margins in points with room for the labels of both axes."""

LINE_HEIGHT = 13.0
"""Distance in points between names in a column."""

_MIN_HEIGHT = 3.9

_MEASURED_FONT = "DejaVu Sans"
_SHOWN_FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
"""Texts are measured in the font that comes with matplotlib, the widest of the common ones, and shown in the reader's
font, in which they are not wider."""

_STYLE = {
    "font.family": _MEASURED_FONT,
    "font.size": NORMAL,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.color": INK,
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.minor.visible": False,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "figure.facecolor": PAPER,
    "figure.dpi": POINTS_PER_INCH,
    "svg.fonttype": "none",
}


@contextmanager
def report_style(name: str) -> Iterator[None]:
    """Use the style of charts within this block, whatever the user's settings of matplotlib are.

    Args:
        name: Name of the chart; its ids in the SVG depend on it.
    """
    with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": name}]), warnings.catch_warnings():
        # The reader's fonts have the characters that the measuring font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of a width and height in inches, on which texts can be measured."""
    figure = Figure(figsize=(width, height), dpi=POINTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def height_for_names(n_names: int) -> float:
    """Return a height in inches with room for that many names in a column."""
    return max(_MIN_HEIGHT, (n_names * LINE_HEIGHT + MARGINS["bottom"] + MARGINS["top"]) / POINTS_PER_INCH)


def axes_with_margins(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Add axes with these margins, in points, to a figure and return them."""
    width, height = (side * POINTS_PER_INCH for side in figure.get_size_inches())
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )


def text_width(figure: Figure | SubFigure | None, text: str, size: float = NORMAL) -> float:
    """Return the width of a text in points."""
    canvas = getattr(figure, "canvas", None)
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError(f"got a figure on {type(canvas).__name__}, expected a figure from new_figure")
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
    font = FontProperties(family=_MEASURED_FONT, size=size)
    return float(renderer.get_text_width_height_descent(text, font, False)[0])


def svg_of(figure: Figure, name: str) -> str:
    """Return a figure as SVG without date, program and addresses, whose ids begin with `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(f"'{_MEASURED_FONT}'", _SHOWN_FONTS)
