"""Chart of the score of classifiers against the operations that they spend."""

from __future__ import annotations

from elasticdenser.evaluation.task_results import ALONE, COST_EFF_SHARE, EXITS, FULL, SHARED, TaskResults
from elasticdenser.reports.blocks import Chart
from elasticdenser.reports.charts.cost import cost_svg
from elasticdenser.reports.charts.labels import Point
from elasticdenser.reports.charts.style import height_for_names
from elasticdenser.reports.palette import INK, SERIES_COLOURS, SystemStyle

_STYLES = {
    FULL: SystemStyle(colour=INK, marker="o", line={}),
    SHARED: SystemStyle(colour=SERIES_COLOURS[0], marker="s", line={}),
    ALONE: SystemStyle(colour=SERIES_COLOURS[1], marker="^", line={}),
    EXITS: SystemStyle(colour=SERIES_COLOURS[2], marker="D", line={}),
}


def task_chart(results: TaskResults, name: str) -> Chart | None:
    """Return the chart of average scores against operations; None with fewer than two rows that have all tasks."""
    points: dict[str, Point] = {}
    styles: dict[str, SystemStyle] = {}
    for row in results.rows:
        average = results.average(row)
        if average is not None:
            value = 100 * average
            points[row] = Point(name=row, x=results.flops(row) / 1e6, y=value, low=value, high=value)
            styles[row] = _STYLES[results.cells_of(row)[0].group]
    if len(points) < 2:
        return None
    label = "average score, %" if len(results.evaluated_tasks) > 1 else f"{results.evaluated_tasks[0]}: score, %"
    marks = {f"COST-EFF: 1/{COST_EFF_SHARE}": points[FULL].x / COST_EFF_SHARE} if FULL in points else {}
    svg = cost_svg(
        name,
        points,
        styles,
        y_label=label,
        x_label="million operations per example",
        height=height_for_names(len(points)),
        marks=marks,
    )
    title = "Score against operations spent"
    caption = (
        "Up and to the left is better. Circles: full encoder; squares: subnets trained together; triangles: trained "
        "alone; diamonds: early exits. Hollow markers: another model is at least as good and as cheap."
        + (" Dotted line: the share of its teacher's operations that COST-EFF reports." if marks else "")
    )
    values = (f"{point.name} {point.y:.1f} at {point.x:,.0f}" for point in points.values())
    return Chart(name=name, svg=svg, title=title, caption=caption, description=f"{title}: {', '.join(values)}.")
