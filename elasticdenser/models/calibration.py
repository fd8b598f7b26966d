"""Calibration of a ranker's scores to probabilities of relevance.

Platt, Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods, 1999, with
the Newton steps of Lin, Lin & Weng, A Note on Platt's Probabilistic Outputs for Support Vector Machines, 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Scores
from elasticdenser.errors import ModelError

_MAX_STEPS = 100
_MIN_SCALE = 1e-6
"""A calibration keeps the order of the scores."""


@dataclass(frozen=True)
class Calibration:
    """Line from a subnet's scores to the logits of probabilities.

    Args:
        scale: Factor of scores, above 0.
        offset: Summand.

    Raises:
        ModelError: A value is not finite, or the scale is not above 0.
    """

    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.scale, self.offset]).all() and self.scale > 0):
            raise ModelError(
                f"got a calibration of scale {self.scale} and offset {self.offset}, expected finite numbers and a "
                "scale above 0"
            )

    def probabilities(self, scores: Scores) -> NDArray[np.float64]:
        """Return the sigmoid of the calibrated scores, float64, of the same shape, from 0 to 1."""
        logits = self.scale * scores.astype(np.float64) + self.offset
        return _sigmoid(logits)


def fit_calibration(scores: Scores, relevant: NDArray[np.bool_]) -> Calibration:
    """Fit a calibration to judged passages by maximum likelihood, with Platt's smoothed targets.

    Args:
        scores: float32, (n,), of passages for queries.
        relevant: bool, (n,), whether each passage is relevant.

    Returns:
        The calibration; the identity if all or no passages are relevant. Its scale is above 0 also where the scores
        contradict the judgements.
    """
    n_relevant, n = int(relevant.sum()), len(relevant)
    if not 0 < n_relevant < n:
        return Calibration()
    # In units of their spread, so that the steps are of one size whatever the scale of the scores.
    centre, spread = float(scores.mean(dtype=np.float64)), float(scores.std(dtype=np.float64)) or 1.0
    units = (scores.astype(np.float64) - centre) / spread
    targets = np.where(relevant, (n_relevant + 1) / (n_relevant + 2), 1 / (n - n_relevant + 2))
    weights = np.array([0.0, np.log((n_relevant + 1) / (n - n_relevant + 1))])
    features = np.stack([units, np.ones(n)], axis=1)
    loss = _loss(features @ weights, targets)
    for _ in range(_MAX_STEPS):
        probabilities = _sigmoid(features @ weights)
        gradient = features.T @ (probabilities - targets)
        hessian = (features * (probabilities * (1 - probabilities))[:, None]).T @ features + 1e-9 * np.eye(2)
        step, factor = np.linalg.solve(hessian, gradient), 1.0
        while factor > 1e-6 and (lower := _loss(features @ (weights - factor * step), targets)) > loss:
            factor /= 2
        if factor <= 1e-6 or loss - lower < 1e-10 * n:
            break
        weights, loss = weights - factor * step, lower
    scale = max(float(weights[0]) / spread, _MIN_SCALE)
    return Calibration(scale=scale, offset=float(weights[1]) - scale * centre)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # Of the absolute value, as exp overflows for large ones.
    small = np.exp(-np.abs(logits))
    probabilities: NDArray[np.float64] = np.where(logits >= 0, 1, small) / (1 + small)
    return probabilities


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())
