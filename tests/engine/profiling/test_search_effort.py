"""Choice of the search effort for each subnet."""

from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.engine.profiling.search_effort import OperatingPoint, choose_operating_points
from elasticdenser.hull import hull_of

costs = st.floats(1e-5, 1e-2)
qualities = st.floats(0.5, 1.0)


def test_the_hull_excludes_points_that_mixtures_beat():
    points = [(1.0, 0.5), (2.0, 0.8), (3.0, 0.85), (4.0, 1.0), (5.0, 0.99), (1.0, 0.4)]
    assert hull_of(points) == [(4.0, 1.0), (2.0, 0.8), (1.0, 0.5)]


@given(st.lists(st.tuples(costs, qualities), min_size=1, max_size=30))
def test_no_point_lies_above_the_hull(points):
    hull = hull_of(points)[::-1]  # the cheapest first
    assert set(hull) <= set(points)
    assert hull == sorted(hull) and [q for _, q in hull] == sorted(q for _, q in hull)
    for cost, quality in points:
        left = [point for point in hull if point[0] <= cost]
        right = [point for point in hull if point[0] >= cost]
        assert left
        if right and right[0] != left[-1]:
            (x0, y0), (x1, y1) = left[-1], right[0]
            assert quality <= y0 + (y1 - y0) * (cost - x0) / (x1 - x0) + 1e-9
        else:
            assert quality <= left[-1][1]


def test_each_subnet_gets_the_effort_nearest_to_the_hull():
    big = [OperatingPoint(quality=0.96, cost_s=2.1, recall=0.9), OperatingPoint(quality=1.0, cost_s=3.0, recall=None)]
    small = [OperatingPoint(quality=0.9, cost_s=0.3, recall=0.9), OperatingPoint(quality=0.91, cost_s=1.2, recall=None)]
    chosen = choose_operating_points({"w1-d6": big, "level0": small})
    assert chosen == {"w1-d6": big[1], "level0": small[0]}
    cheap = [OperatingPoint(quality=0.9, cost_s=0.3, recall=0.9), OperatingPoint(quality=0.93, cost_s=0.4, recall=None)]
    assert choose_operating_points({"w1-d6": big, "level0": cheap})["level0"].recall is None


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.lists(st.builds(OperatingPoint, quality=qualities, cost_s=costs, recall=st.none()), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_the_choice_is_one_of_the_points(points):
    chosen = choose_operating_points(points)
    assert chosen.keys() == points.keys()
    assert all(chosen[name] in choices for name, choices in points.items())
