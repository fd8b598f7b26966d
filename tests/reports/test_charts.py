from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.reports.charts.cost import cost_chart, pareto_front
from elasticdenser.reports.charts.curves import curve_chart
from elasticdenser.reports.charts.gains import gains_chart
from elasticdenser.reports.charts.labels import Point, label_points, spread
from elasticdenser.reports.charts.style import axes_with_margins, new_figure, report_style, text_width
from elasticdenser.reports.palette import system_styles

SVG = "{http://www.w3.org/2000/svg}"


def texts(chart):
    return [element.text for element in ET.fromstring(chart.svg).iter(f"{SVG}text")]


@pytest.mark.slow
@pytest.mark.parametrize("draw", [cost_chart, curve_chart, gains_chart])
def test_charts_name_systems_and_axes_and_are_repeatable(comparison, draw):
    info = comparison.query_sets[0]
    chart = draw(comparison, info, "p1")
    shown = texts(chart)
    others = ["auto", "bm25", "rrf", "weighted"]
    assert set(shown) >= ({*others} if draw is gains_chart else {"exact", *others})
    axis = {cost_chart: "RR@10", curve_chart: "R@k", gains_chart: "Δ RR@10"}[draw]
    assert axis in shown
    assert draw(comparison, info, "p1") == chart
    # Several charts are on one page: their ids must differ.
    ids = re.findall(r'\bid="([^"]*)"', chart.svg)
    assert len(set(ids)) == len(ids) and all(i.startswith("p1-") for i in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', chart.svg)) <= set(ids)
    assert not re.search("<metadata|<dc:|<!DOCTYPE", chart.svg)


def test_gains_are_counted(comparison):
    info = comparison.query_sets[2]
    difference = comparison.difference(info.name, "bm25", info.measures[0])
    n_equal = len(info.queries) - difference.n_better - difference.n_worse
    counts = f"{difference.n_better} better · {n_equal} equal · {difference.n_worse} worse"
    chart = gains_chart(comparison, info, "p")
    assert counts in texts(chart)
    assert f"bm25 {counts}" in chart.description
    assert "0 better · 43 equal · 0 worse" in texts(chart)  # auto equals the baseline


@pytest.mark.slow
def test_every_panel_of_gains_has_labels_below(comparison):
    info = comparison.query_sets[0]
    shown = texts(gains_chart(comparison, info, "p"))
    others = [cell for cell in comparison.cells_of(info.name) if cell.system != comparison.baseline]
    assert len(others) == 4
    assert shown.count("queries, sorted") == shown.count(f"{len(info.queries):,}") == len(others)


@pytest.mark.slow
def test_untimed_systems_are_in_the_caption(comparison):
    chart = cost_chart(comparison, comparison.query_sets[1], "p")
    assert "rrf" not in texts(chart)
    mean = comparison.cell("trivia", "rrf").mean("nDCG@10")
    assert chart.caption.endswith(f"Not timed: rrf ({mean:.4f}).")


def point(x, y, name=""):
    return Point(name=name, x=x, y=y, low=y, high=y)


def test_the_pareto_front_has_the_points_that_no_other_dominates():
    fast, mid, best = point(1, 0.2), point(2, 0.5), point(9, 0.9)
    slower, worse, twin = point(3, 0.5), point(2, 0.4), point(2, 0.5, "twin")
    assert pareto_front([best, worse, mid, slower, fast]) == [fast, mid, best]
    assert pareto_front([mid, twin]) == [mid, twin]


@pytest.mark.slow
@given(st.lists(st.floats(0, 100), max_size=12))
def test_spread_keeps_order_gap_and_bounds(preferred):
    positions = spread(preferred, 5, 0, 100)
    order = sorted(range(len(preferred)), key=lambda i: (preferred[i], -i))
    assert all(positions[j] - positions[i] >= 5 - 1e-6 for i, j in itertools.pairwise(order))
    assert all(2.5 - 1e-6 <= position <= 97.5 + 1e-6 for position in positions)


def test_spread_leaves_positions_that_are_apart():
    assert spread([80, 20, 50], 5, 0, 100) == pytest.approx([80, 20, 50])
    assert spread([50, 50], 10, 0, 100) == pytest.approx([55, 45])


@pytest.mark.parametrize("seed", range(5))
def test_names_do_not_cover_each_other(seed):
    rng = np.random.default_rng(seed)
    points = [point(*position, f"system-{i}") for i, position in enumerate(rng.uniform(0.35, 0.65, (12, 2)))]
    with report_style("p"):
        figure = new_figure(5.35, 3.9)
        axes = axes_with_margins(figure, left=40, right=10, bottom=40, top=10)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        label_points(axes, points, [])
        boxes = []
        for shown in axes.texts:
            width = text_width(figure, shown.get_text())
            x, y = shown.get_position()
            left = x - {"left": 0, "center": width / 2, "right": width}[shown.get_horizontalalignment()]
            boxes.append((left, y - 4.5, left + width, y + 4.5))
    assert len(boxes) == 12
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert all(x0 >= axes.bbox.x0 - 1 and x1 <= axes.bbox.x1 + 1 for x0, _, x1, _ in boxes)


def test_every_system_has_its_own_style(comparison):
    styles = system_styles(comparison)
    assert len({(style.colour, style.marker) for style in styles.values()}) == 5
    assert styles["exact"].colour == "#24292f"
