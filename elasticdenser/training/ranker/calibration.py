"""Calibration of a trained ranker on its dev lists: two numbers a subnet, which change no order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elasticdenser.models.calibration import Calibration, fit_calibration
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.subnet import Subnet
from elasticdenser.training.ranker.dev_lists import DevLists, scores_at_depths


def calibrate(
    model: ElasticScorer, subnets: Sequence[Subnet], dev_lists: Sequence[DevLists], *, bfloat16: bool = False
) -> dict[str, Calibration]:
    """Return the calibration of each subnet by name; none without judgements.

    Args:
        model: The model.
        subnets: The subnets.
        dev_lists: Dev lists; those with judgements are used. Candidates without one count as not relevant.
        bfloat16: Compute in bfloat16.
    """
    judged = [(dev.pairs, relevant) for dev in dev_lists if (relevant := dev.relevant()) is not None]
    if not judged:
        return {}
    pairs = [pair for of_dev, _ in judged for pair in of_dev]
    relevant = np.concatenate([of_dev for _, of_dev in judged])
    calibrations: dict[str, Calibration] = {}
    for width in dict.fromkeys(subnet.width for subnet in subnets):
        depths = [subnet.depth for subnet in subnets if subnet.width == width]
        for depth, scores in scores_at_depths(model, pairs, width, depths, bfloat16=bfloat16).items():
            calibrations[str(Subnet(width, depth))] = fit_calibration(scores, relevant)
    return calibrations
