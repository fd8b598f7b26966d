"""Calibration of a ranker's scores to probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.errors import ModelError
from elasticdenser.models.calibration import Calibration, fit_calibration


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.02, -3.0), (40.0, 7.0)])
def test_a_fit_recovers_how_the_judgements_were_drawn(scale, offset):
    rng = np.random.default_rng(1)
    logits = rng.normal(-1.0, 2.0, 20_000)
    scores = ((logits - offset) / scale).astype(np.float32)
    relevant = rng.random(len(logits)) < 1 / (1 + np.exp(-logits))
    fitted = fit_calibration(scores, relevant)
    expected = Calibration(scale=scale, offset=offset).probabilities(scores)
    assert np.abs(fitted.probabilities(scores) - expected).max() < 0.02
    assert fitted.probabilities(scores).mean() == pytest.approx(relevant.mean(), abs=0.002)


def test_judgements_that_separate_the_scores_give_no_certainty():
    scores = np.float32([-2, -1, 1, 2])
    probabilities = fit_calibration(scores, scores > 0).probabilities(scores)
    assert (np.diff(probabilities) > 0).all() and 0.1 < probabilities[0] < probabilities[-1] < 0.9


def test_the_order_is_kept_whatever_the_judgements_say():
    scores = np.float32([-1, 0, 1, 2])
    fitted = fit_calibration(scores, scores < 0.5)
    assert fitted.scale > 0 and (np.diff(fitted.probabilities(scores)) > 0).all()


def test_without_both_kinds_of_judgements_nothing_is_fitted():
    for relevant in (True, False):
        assert fit_calibration(np.float32([1, 2]), np.array([relevant] * 2)) == Calibration()
    assert fit_calibration(np.float32([]), np.array([], bool)) == Calibration()


def test_equal_scores_have_the_mean_probability():
    fitted = fit_calibration(np.float32([3, 3, 3, 3]), np.array([True, False, False, False]))
    assert np.isfinite([fitted.scale, fitted.offset]).all()


def test_probabilities_of_extreme_scores_are_finite():
    probabilities = Calibration().probabilities(np.float32([-1e30, 0, 1e30]))
    assert probabilities.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_a_calibration_out_of_range_is_refused(values):
    with pytest.raises(ModelError, match="expected finite numbers and a scale above 0"):
        Calibration(*values)
