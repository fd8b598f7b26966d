"""Figures without matplotlib's global state, and SVG text that depends on nothing but what is drawn."""

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

# Measured with the widest of common fonts, which comes with matplotlib; shown in the reader's own, where it fits too.
_MEASURED = "DejaVu Sans"
_SHOWN = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"

_STYLE = {
    "font.family": _MEASURED,
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
    """Draw and save within this block in the report's style, whatever the user's settings are.

    Args:
        name: Of the picture; makes its ids its own.
    """
    with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": name}]), warnings.catch_warnings():
        # The reader's fonts draw what the font that measures lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of that many inches on which texts can be measured."""
    figure = Figure(figsize=(width, height), dpi=POINTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def axes_with_margins(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Return axes that leave margins of that many points."""
    width, height = (side * POINTS_PER_INCH for side in figure.get_size_inches())
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )


def text_width(figure: Figure | SubFigure | None, text: str, size: float = NORMAL) -> float:
    """Return how wide a text is, in points."""
    canvas = getattr(figure, "canvas", None)
    if not isinstance(canvas, FigureCanvasAgg):
        raise TypeError(f"got a figure on {type(canvas).__name__}, expected one of new_figure")
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
    font = FontProperties(family=_MEASURED, size=size)
    return float(renderer.get_text_width_height_descent(text, font, False)[0])


def svg_of(figure: Figure, name: str) -> str:
    """Return a figure as an SVG file: no date, no program, no address, and ids that begin with `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(f"'{_MEASURED}'", _SHOWN.replace('"', "'"))
