"""Names of levels: a subnet, and what is reranked."""

from __future__ import annotations

import pytest

from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.level_name import escalated_name, level_name, parse_level_name


@pytest.mark.parametrize(
    ("subnet", "reranking", "name", "stages"),
    [
        ("w1-d6", "50:w0.5-d3", "w1-d6+50:w0.5-d3", [(50, "w0.5-d3")]),
        ("level0", "100:w0.25-d1,30:w0.5-d3", "level0+100:w0.25-d1+30:w0.5-d3", [(100, "w0.25-d1"), (30, "w0.5-d3")]),
        ("w1-d6", "50:w0.5-d3+0.2", "w1-d6+50:w0.5-d3+0.2", [(50, "w0.5-d3")]),
        ("w1-d6", "50:w0.5-d3+1e-05", "w1-d6+50:w0.5-d3+1e-05", [(50, "w0.5-d3")]),
    ],
)
def test_a_name_says_what_is_reranked(subnet, reranking, name, stages):
    assert level_name(subnet, reranking) == name
    assert parse_level_name(name) == (subnet, tuple(stages), reranking, "")
    assert Level(name=name, quality=1.0, measured_s={1: 1.0}).parts.reranking == reranking


@pytest.mark.parametrize("name", ["w1-d6", "level0", "fast+cheap", "w1-d6+50", "a+0.2", "w1-d6+50:", "+50:w1-d1"])
def test_other_names_are_of_levels_that_do_not_rerank(name):
    assert parse_level_name(name) == (name, (), "", "")


@pytest.mark.parametrize("margin", ["0.08", "1e-05", "2"])
def test_a_name_says_which_queries_escalate(margin):
    assert parse_level_name(f"level0@{margin}:w1-d6") == ("level0", (), "", f"{margin}:w1-d6")
    reranked = parse_level_name(f"w0.5-d3@{margin}:w1-d6+50:w0.5-d3+0.2")
    assert reranked == ("w0.5-d3", ((50, "w0.5-d3"),), "50:w0.5-d3+0.2", f"{margin}:w1-d6")


@pytest.mark.parametrize(
    ("margin", "digits"), [(0.04123, "0.0412"), (0.25, "0.25"), (1e-5, "0.00001"), (1234.6, "1230"), (9.999, "10")]
)
def test_a_margin_of_any_size_is_named(margin, digits):
    name = escalated_name("level0", margin, "w1-d6")  # `1.23e+03` would be no name, as a + begins a stage
    assert parse_level_name(name) == ("level0", (), "", f"{digits}:w1-d6")


@pytest.mark.parametrize("name", ["w0.5-d3@", "w0.5-d3@w1-d6", "w0.5-d3@0.1", "w0.5-d3@0.1:w1-d6+0.2", "@0.1:w1-d6"])
def test_other_names_are_of_levels_that_do_not_escalate(name):
    assert parse_level_name(name) == (name, (), "", "")
