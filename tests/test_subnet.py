"""Spelling, range and order of subnets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser import Subnet
from elasticdenser.errors import QueryError


@pytest.mark.parametrize(
    ("spelling", "width", "depth", "printed"),
    [
        ("w1-d6", 1, 6, "w1-d6"),
        ("w1.0-d6", 1, 6, "w1-d6"),
        ("w0.5-d3", 0.5, 3, "w0.5-d3"),
        ("w0.25-d12", 0.25, 12, None),
        ("level0", 0, 0, None),
    ],
)
def test_spelling(spelling, width, depth, printed):
    subnet = Subnet.parse(spelling)
    assert subnet == Subnet(width=width, depth=depth)
    assert str(subnet) == (printed or spelling)
    assert Subnet.parse(subnet) is subnet


@given(st.integers(1, 100), st.integers(1, 48))
def test_parse_is_the_inverse_of_str(hundredths, depth):
    subnet = Subnet(width=hundredths / 100, depth=depth)
    assert Subnet.parse(str(subnet)) == subnet


@pytest.mark.parametrize("spelling", ["", "w1", "d6", "w1-d", "w-1-d3", "W1-D6", "w1-d6 ", "w1_d6", "w.5-d3", "level1"])
def test_other_spellings_are_refused(spelling):
    with pytest.raises(QueryError, match="expected the form w<width>-d<depth>"):
        Subnet.parse(spelling)


@pytest.mark.parametrize("spelling", ["w0-d6", "w1.1-d6", "w1-d0", "w0-d1"])
def test_width_and_depth_out_of_range_are_refused(spelling):
    with pytest.raises(QueryError, match="expected 0 < width <= 1 and depth >= 1"):
        Subnet.parse(spelling)


def test_order_is_by_cost():
    spellings = ["level0", "w0.25-d2", "w1-d1", "w0.5-d2", "w0.5-d6", "w1-d6"]
    assert [str(subnet) for subnet in sorted(map(Subnet.parse, reversed(spellings)))] == spellings


def test_a_subnet_is_frozen_and_hashable():
    subnet = Subnet.parse("w1-d6")
    assert {subnet: 1}[Subnet(width=1.0, depth=6)] == 1
    with pytest.raises(AttributeError):
        subnet.depth = 3
