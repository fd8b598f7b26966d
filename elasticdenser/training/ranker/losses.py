"""Losses of a ranker over lists of candidates: from a teacher's scores, and from judgements.

All arrays are (n_queries, list_size). Each loss is a number, the mean over the queries that it applies to; 0 if there
are none. Scores of different queries are never compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TeacherLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes scores, target scores, and where both are known (bool); returns a number."""

LabelLoss = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Takes scores, whether a candidate is relevant, whether it is not (bool), and the calibration; returns a number."""


def margin_mse(scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared difference of margins, over all pairs of a list (Hofstaetter et al. 2020).

    The mean over all pairs of (d_i - d_j)^2, with d the difference of score and target, is twice the variance of d.
    """
    counts = known.sum(dim=1)
    differences = torch.where(known, scores - targets, 0)
    centred = torch.where(known, differences - (differences.sum(dim=1) / counts.clamp(min=1))[:, None], 0)
    return _mean_over(2 * centred.square().sum(dim=1) / (counts - 1).clamp(min=1), counts > 1)


def ranknet(scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return the logistic loss over the pairs that the teacher puts in an order (RankNet, Burges et al. 2005)."""
    margins = scores[:, :, None] - scores[:, None]
    is_better = (targets[:, :, None] > targets[:, None]) & known[:, :, None] & known[:, None]
    losses = torch.where(is_better, F.softplus(-margins), 0).sum(dim=(1, 2))
    counts = is_better.sum(dim=(1, 2))
    return _mean_over(losses / counts.clamp(min=1), counts > 0)


def listwise_kl(scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return KL(teacher || ranker) of the distributions over a list (ListNet, Cao et al. 2007, as distillation)."""
    log_scores = F.log_softmax(scores.masked_fill(~known, -1e9), dim=1)
    log_targets = F.log_softmax(targets.masked_fill(~known, -1e9), dim=1)
    losses = torch.where(known, log_targets.exp() * (log_targets - log_scores), 0).sum(dim=1)
    return _mean_over(losses, known.sum(dim=1) > 1)


def localized_contrastive(scores: Tensor, relevant: Tensor, irrelevant: Tensor, calibration: float) -> Tensor:
    """Return the cross-entropy of each relevant candidate against the others (LCE, Gao, Dai and Callan 2021).

    Args:
        scores: Scores of the ranker.
        relevant: Whether a candidate is relevant.
        irrelevant: Whether it is not; candidates that are neither are left out.
        calibration: Without effect.
    """
    negatives = scores.masked_fill(~irrelevant, -1e9).logsumexp(dim=1, keepdim=True)
    losses = torch.where(relevant, torch.logaddexp(scores, negatives) - scores, 0).sum(dim=1)
    counts = relevant.sum(dim=1)
    return _mean_over(losses / counts.clamp(min=1), (counts > 0) & irrelevant.any(dim=1))


def gbce(scores: Tensor, relevant: Tensor, irrelevant: Tensor, calibration: float) -> Tensor:
    """Return the generalised binary cross-entropy (gBCE, Petrov and Macdonald 2023, for rankers Petrov et al. 2024).

    With few negatives out of very many, scores of relevant candidates grow too far; the exponent beta of their
    probability prevents that. With the sampling rate a of negatives, beta is a (t (1 - 1/a) + 1/a).

    Args:
        scores: Scores of the ranker.
        relevant: Whether a candidate is relevant.
        irrelevant: Whether it is not; candidates that are neither are left out.
        calibration: t, from 0 (binary cross-entropy) to 1. The negatives of a list are taken as drawn from 1,000
            candidates, the depth of a first stage.
    """
    n_relevant, n_irrelevant = relevant.sum(dim=1), irrelevant.sum(dim=1)
    rate = n_irrelevant.clamp(min=1) / 1000
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    positive = torch.where(relevant, F.softplus(-scores), 0).sum(dim=1) / n_relevant.clamp(min=1)
    negative = torch.where(irrelevant, F.softplus(scores), 0).sum(dim=1) / n_irrelevant.clamp(min=1)
    return _mean_over(beta * positive + negative, (n_relevant > 0) & (n_irrelevant > 0))


TEACHER_LOSSES: dict[str, TeacherLoss] = {"margin-mse": margin_mse, "ranknet": ranknet, "listwise-kl": listwise_kl}
"""Losses over a teacher's scores by the name that recipes have for them."""

LABEL_LOSSES: dict[str, LabelLoss] = {"lce": localized_contrastive, "gbce": gbce}
"""Losses over judgements by the name that recipes have for them."""


def _mean_over(losses: Tensor, applies: Tensor) -> Tensor:
    """Return the mean of the losses of the queries to which a loss applies."""
    return torch.where(applies, losses, 0).sum() / applies.sum().clamp(min=1)
