"""Stages of a cascade, and their spellings."""

from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.errors import QueryError
from elasticdenser.rankers.stages import Stage, check_stages, rank_in_stages
from elasticdenser.subnet import Subnet

SMALL, LARGE = Subnet(0.25, 1), Subnet(1, 2)


def scorer(scores_by_subnet, calls=None):
    def score(numbers, subnet):
        if calls is not None:
            calls.append((subnet, numbers.tolist()))
        return np.float32(scores_by_subnet[subnet])[numbers]

    return score


def test_each_stage_ranks_the_best_of_the_one_before():
    by_subnet = {SMALL: [0, 5, 3, 4, 1], LARGE: [9, -2, 9, -1, 9]}
    calls = []
    scores, order = rank_in_stages([Stage(5, SMALL), Stage(3, LARGE)], 5, scorer(by_subnet, calls))
    assert calls == [(SMALL, [0, 1, 2, 3, 4]), (LARGE, [1, 3, 2])]
    assert order.tolist() == [2, 3, 1, 4, 0]  # then the dropped ones, in the order of the first stage
    assert scores.tolist() == [9, -1, -2, -2, -3]


def test_scores_of_dropped_candidates_are_lowered_together_and_never_raised():
    by_subnet = {SMALL: [4, 3, 2, 1], LARGE: [60, 50, 0, 0]}
    scores, _ = rank_in_stages([Stage(4, SMALL), Stage(2, LARGE)], 4, scorer(by_subnet))
    assert scores.tolist() == [60, 50, 2, 1]


def test_equal_scores_keep_the_order_of_the_stage_before():
    by_subnet = {SMALL: [0, 0, 1, 1], LARGE: [7, 7, 7, 7]}
    _, order = rank_in_stages([Stage(4, SMALL), Stage(3, LARGE)], 4, scorer(by_subnet))
    assert order.tolist() == [2, 3, 0, 1]


def test_no_scores_are_asked_for_no_candidates():
    scores, order = rank_in_stages([Stage(0), Stage(0)], 0, scorer({}))
    assert scores.shape == order.shape == (0,) and scores.dtype == np.float32


def test_stages_that_rank_no_fewer_candidates_are_refused():
    check_stages([Stage(100), Stage(30), Stage(10)])
    for numbers in ((30, 30), (30, 100), (30, 0)):
        with pytest.raises(QueryError, match="expected each stage to rank fewer candidates than the one before"):
            check_stages([Stage(number) for number in numbers])
    with pytest.raises(QueryError, match="got -1 candidates, expected a whole number from 0"):
        Stage(-1)
    assert [str(Stage(50)), str(Stage(50, SMALL))] == ["50", "50:w0.25-d1"]
