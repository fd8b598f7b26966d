from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.reports.charts import cost_picture, curve_picture, pareto_front
from elasticdenser.reports.figures import axes_with_margins, new_figure, report_style, text_width
from elasticdenser.reports.gains import gains_picture
from elasticdenser.reports.labels import Point, label_points, spread
from elasticdenser.reports.palette import looks_of

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture):
    return [found.text for found in ET.fromstring(picture.svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("draw", [cost_picture, curve_picture, gains_picture])
def test_pictures_name_systems_and_axes_and_repeat(comparison, draw):
    info = comparison.query_sets[0]
    picture = draw(comparison, info, "p1")
    shown = texts(picture)
    others = ["auto", "bm25", "rrf", "weighted"]
    assert set(shown) >= ({*others} if draw is gains_picture else {"exact", *others})
    axis = {cost_picture: "RR@10", curve_picture: "R@k", gains_picture: "Δ RR@10"}[draw]
    assert axis in shown
    assert draw(comparison, info, "p1") == picture
    # Several pictures on one page: ids must not meet.
    ids = re.findall(r'\bid="([^"]*)"', picture.svg)
    assert len(set(ids)) == len(ids) and all(i.startswith("p1-") for i in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]*)', picture.svg)) <= set(ids)
    assert not re.search("<metadata|<dc:|<!DOCTYPE", picture.svg)


def test_gains_say_how_many(comparison):
    info = comparison.query_sets[2]
    found = comparison.difference(info.name, "bm25", info.measures[0])
    n_equal = len(info.queries) - found.n_better - found.n_worse
    counts = f"{found.n_better} better · {n_equal} equal · {found.n_worse} worse"
    picture = gains_picture(comparison, info, "p")
    assert counts in texts(picture)
    assert f"bm25 {counts}" in picture.description
    assert "0 better · 43 equal · 0 worse" in texts(picture)  # auto is the same


def test_untimed_systems_stand_in_the_caption(comparison):
    picture = cost_picture(comparison, comparison.query_sets[1], "p")
    assert "rrf" not in texts(picture)
    mean = comparison.cell("trivia", "rrf").mean("nDCG@10")
    assert picture.caption.endswith(f"Not timed: rrf ({mean:.4f}).")


def point(x, y, name=""):
    return Point(name=name, x=x, y=y, low=y, high=y)


def test_pareto_front():
    fast, mid, best = point(1, 0.2), point(2, 0.5), point(9, 0.9)
    slower, worse, twin = point(3, 0.5), point(2, 0.4), point(2, 0.5, "twin")
    assert pareto_front([best, worse, mid, slower, fast]) == [fast, mid, best]
    assert pareto_front([mid, twin]) == [mid, twin]


@given(st.lists(st.floats(0, 100), max_size=12))
def test_spread_keeps_order_gap_and_bounds(wanted):
    found = spread(wanted, 5, 0, 100)
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], -i))
    assert all(found[j] - found[i] >= 5 - 1e-6 for i, j in itertools.pairwise(order))
    assert all(2.5 - 1e-6 <= position <= 97.5 + 1e-6 for position in found)


def test_spread_leaves_what_is_apart():
    assert spread([80, 20, 50], 5, 0, 100) == pytest.approx([80, 20, 50])
    assert spread([50, 50], 10, 0, 100) == pytest.approx([55, 45])


@pytest.mark.parametrize("seed", range(5))
def test_names_do_not_cover_each_other(seed):
    rng = np.random.default_rng(seed)
    points = [point(*place, f"system-{i}") for i, place in enumerate(rng.uniform(0.35, 0.65, (12, 2)))]
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


def test_looks_are_of_the_system_wherever_it_is(comparison):
    looks = looks_of(comparison)
    assert len({(look.colour, look.marker) for look in looks.values()}) == 5
    assert looks["exact"].colour == "#24292f"
