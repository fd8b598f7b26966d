"""Chart of recall curves: a measure against its cut-off, with a line for each system."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from elasticdenser.evaluation.comparison import Comparison, QuerySetInfo
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Chart
from elasticdenser.reports.charts.axes import padded, set_log_axis
from elasticdenser.reports.charts.labels import column_width, label_column
from elasticdenser.reports.charts.style import (
    HALF_WIDTH,
    MARGINS,
    axes_with_margins,
    height_for_names,
    new_figure,
    report_style,
    svg_of,
)
from elasticdenser.reports.palette import system_styles

_TOP_OF_SHARES = 1.02
"""Upper limit of the axis of a measure that is at most 1: a line at 1 stays whole."""


def curve_chart(comparison: Comparison, info: QuerySetInfo, name: str) -> Chart | None:
    """Return the chart of the curve measure at each cut-off; None if there are no curves."""
    all_cells = comparison.cells_of(info.name)
    # The baseline first: the column of names puts systems with equal values in this order.
    cells = sorted((cell for cell in all_cells if cell.curve), key=lambda cell: cell.system != comparison.baseline)
    if not cells:
        return None
    styles = [system_styles(comparison)[cell.system] for cell in cells]
    names = [text.short_name(cell.system) for cell in cells]
    with report_style(name):
        figure = new_figure(HALF_WIDTH, height_for_names(len(all_cells)))
        axes = axes_with_margins(figure, right=column_width(figure, names), **MARGINS)
        cutoffs = sorted({cutoff for cell in cells for cutoff in cell.curve})
        set_log_axis(axes, cutoffs[0] / 1.1, cutoffs[-1] * 1.1, cutoffs)
        means = [mean for cell in cells for mean in cell.curve.values()]
        low, high = padded(min(means), max(means))
        axes.set_ylim(low, min(high, _TOP_OF_SHARES) if max(means) <= 1 else high)
        for cell, style in zip(cells, styles, strict=True):
            axes.plot(sorted(cell.curve), [cell.curve[cutoff] for cutoff in sorted(cell.curve)], **style.line)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_ylabel(f"{text.plain(info.curve_measure)}@k")
        axes.set_xlabel("cut-off k")
        line_ends = [max(cell.curve.items()) for cell in cells]
        label_column(axes, names, styles, line_ends)
        svg = svg_of(figure, name)
    title = f"{text.plain(info.curve_measure)} at each cut-off"
    values = (
        f"{text.plain(cell.system)} {text.value(mean)} at {cutoff:,}"
        for cell, (cutoff, mean) in zip(cells, line_ends, strict=True)
    )
    caption = "Higher is better. The names are in the order of the right ends of the lines."
    return Chart(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(values)}.")
