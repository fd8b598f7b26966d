"""Measures of classification, beside figures computed by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from elasticdenser.evaluation.classification import MEASURES, matthews, measure_outputs

LABELS, PREDICTED = [1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 1, 1]


def test_measures_are_those_of_their_definitions():
    # 3 true positives, 1 false positive, 1 false negative, 1 true negative.
    assert MEASURES["accuracy"](LABELS, PREDICTED) == pytest.approx(4 / 6)
    assert MEASURES["f1"](LABELS, PREDICTED) == pytest.approx(3 / 4)
    assert matthews(LABELS, PREDICTED) == pytest.approx((3 * 1 - 1 * 1) / np.sqrt(4 * 4 * 2 * 2))


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 5, 40)
    second = first + rng.integers(0, 4, 40)
    assert MEASURES["pearson"](first, second) == pytest.approx(stats.pearsonr(first, second)[0])
    assert MEASURES["spearman"](first, second) == pytest.approx(stats.spearmanr(first, second)[0])


def test_a_constant_answer_has_no_correlation():
    assert matthews([0, 1, 0], [1, 1, 1]) == MEASURES["spearman"]([0, 1, 0], [2, 2, 2]) == 0
    assert MEASURES["f1"]([1, 1], [0, 0]) == 0


def test_the_highest_output_is_the_class_and_a_single_one_the_number():
    assert measure_outputs([0, 1], [[2.0, 1.0], [0.0, 3.0]], ("accuracy",)) == {"accuracy": 1.0}
    assert measure_outputs([0, 5, 9], [[0.1], [0.2], [0.9]], ("spearman",)) == {"spearman": pytest.approx(1.0)}
