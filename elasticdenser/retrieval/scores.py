"""Scores that leave no order to chance."""

from __future__ import annotations

import numpy as np

from elasticdenser.arrays import Scores


def strictly_decreasing(scores: Scores) -> Scores:
    """Lower each score that is not below the one before by the least step of float32, so that no two are equal.

    Tools that measure a run sort it by score and break ties each in its own way: trec_eval by falling document id,
    others by rising. Equal scores, such as those of copies of a passage, would then rank differently in every measure.

    Args:
        scores: float32, (n,), best first.

    Returns:
        float32, (n,).
    """
    if len(scores) < 2 or (np.diff(scores) < 0).all():
        return scores
    decreasing = scores.copy()
    for rank in range(1, len(decreasing)):
        if decreasing[rank] >= decreasing[rank - 1]:
            decreasing[rank] = np.nextafter(decreasing[rank - 1], np.float32(-np.inf))
    return decreasing
