"""Choices that no other one beats in all aims."""

from __future__ import annotations

from elasticdenser.evaluation.front import non_dominated


def test_a_choice_that_another_beats_in_all_aims_is_left_out():
    full, quick, robust = (0.9, 0.5, -8.0), (0.8, 0.4, -1.0), (0.85, 0.6, -8.0)
    beaten, slower_twin = (0.79, 0.4, -1.0), (0.8, 0.4, -2.0)
    assert non_dominated([full, beaten, quick, slower_twin, robust]) == [0, 2, 4]


def test_equal_choices_stay():
    assert non_dominated([(1.0, 2.0), (1.0, 2.0), (0.0, 2.0)]) == [0, 1]
    assert non_dominated([]) == []
