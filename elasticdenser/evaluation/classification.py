"""Measures of classification and regression, as GLUE defines them (Wang et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def accuracy(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Return the share of predicted classes that are right."""
    return float(np.mean(np.asarray(labels) == np.asarray(predicted)))


def f1(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Return the F1 of class 1: the harmonic mean of its precision and recall; 0 where nothing of it is right."""
    is_one, found = np.asarray(labels) == 1, np.asarray(predicted) == 1
    n_right = float(np.sum(is_one & found))
    return 2 * n_right / float(np.sum(is_one) + np.sum(found)) if n_right else 0.0


def matthews(labels: ArrayLike, predicted: ArrayLike) -> float:
    """Return the correlation of Matthews (1975) of two classes, from -1 to 1; 0 where one side is constant."""
    return _pearson_or_0(np.asarray(labels, np.float64), np.asarray(predicted, np.float64))


def pearson(numbers: ArrayLike, predicted: ArrayLike) -> float:
    """Return the linear correlation; 0 where one side is constant."""
    return _pearson_or_0(np.asarray(numbers, np.float64), np.asarray(predicted, np.float64))


def spearman(numbers: ArrayLike, predicted: ArrayLike) -> float:
    """Return the correlation of the ranks, of equal numbers their mean rank; 0 where one side is constant."""
    from scipy.stats import rankdata

    return _pearson_or_0(rankdata(np.asarray(numbers)), rankdata(np.asarray(predicted)))


MEASURES: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
"""Measures by name; all are higher for better predictions."""


def measure_outputs(labels: ArrayLike, outputs: ArrayLike, names: tuple[str, ...]) -> dict[str, float]:
    """Return measures of a model's outputs.

    Args:
        labels: Numbers of classes, or numbers, (n,).
        outputs: (n, n_classes): the highest is the predicted class; or (n, 1): predicted numbers.
        names: Names of measures.
    """
    values = np.asarray(outputs, np.float64)
    predicted = values[:, 0] if values.shape[1] == 1 else values.argmax(axis=1)
    return {name: MEASURES[name](labels, predicted) for name in names}


def _pearson_or_0(first: Floats, second: Floats) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
