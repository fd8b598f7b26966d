"""Colours of levels."""

from __future__ import annotations

import subprocess
import sys

import pytest

from elasticdenser.reports.level_colours import LEVEL_COLOURS, level_colour, level_css


@pytest.mark.parametrize("is_dark", [False, True])
def test_colours_lead_from_the_best_level_over_the_middle_to_the_fastest(is_dark):
    expected = [pair[is_dark] for pair in LEVEL_COLOURS.values()]
    assert [level_colour(position, 3, is_dark=is_dark) for position in range(3)] == expected
    assert [level_colour(position, 2, is_dark=is_dark) for position in range(2)] == [expected[0], expected[2]]
    assert level_colour(0, 1, is_dark=is_dark) == expected[0]
    assert len({level_colour(position, 12, is_dark=is_dark) for position in range(12)}) == 12


def test_levels_between_get_the_mixture_of_css():
    # color-mix(in srgb, #2a9d8f 50%, #17498a)
    assert level_colour(1, 5) == "#20738c"


@pytest.mark.parametrize("position", [-1, 3])
def test_a_level_that_does_not_exist_is_an_error(position):
    with pytest.raises(ValueError, match=f"got position {position} among 3 levels, expected one from 0 to 2"):
        level_colour(position, 3)


def test_the_page_gets_its_variables():
    assert level_css() == "--level-best: #17498a; --level-middle: #2a9d8f; --level-fastest: #f2b134;"
    assert "--level-best: #4a7fd6;" in level_css(is_dark=True)


def test_the_colours_cost_the_server_no_imports():
    script = (
        "import sys, elasticdenser.reports.level_colours\n"
        "print([name for name in ('numpy', 'matplotlib', 'elasticdenser.evaluation') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
