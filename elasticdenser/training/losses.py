"""Losses of the distillation: the distance to the full encoder's vectors, and to its scores over passages."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from elasticdenser.training.batches import Batch
from elasticdenser.training.settings import StepSettings


class DistillationLoss:
    """Alignment, and the weighted divergence of scores, on one batch.

    Args:
        batch: Targets and passages, on the device to compute on.
        settings: Weight and temperature of the score distributions.
    """

    def __init__(self, batch: Batch, settings: StepSettings) -> None:
        self._batch, self._settings = batch, settings
        # The subnets share the full encoder's scores.
        if settings.score_weight:
            self._target_scores = log_scores(batch.targets, batch.bank, settings.temperature)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the loss, a number, of vectors, (n, dim), L2-normalised."""
        loss = alignment(vectors, self._batch.targets)
        if self._settings.score_weight:
            scores = log_scores(vectors, self._batch.bank, self._settings.temperature)
            loss = loss + self._settings.score_weight * score_divergence(scores, self._target_scores)
        return loss


def alignment(vectors: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared distance to the full encoder's vectors.

    Args:
        vectors: (n, dim), L2-normalised.
        targets: (n, dim), L2-normalised.

    Returns:
        A number; 2 - 2 cosine on average.
    """
    return (vectors - targets).square().sum(dim=-1).mean()


def log_scores(vectors: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """Return the logarithms of the distribution of scores over passages, softmax(bank . vector / T).

    Args:
        vectors: (n, dim), L2-normalised.
        bank: (m, dim), vectors of passages, some of them near the queries.
        temperature: T; .02 to .05 for cosines.

    Returns:
        (n, m).
    """
    return F.log_softmax(vectors @ bank.T / temperature, dim=-1)


def score_divergence(scores: Tensor, target_scores: Tensor) -> Tensor:
    """Return the divergence of a distribution of scores over passages from the full encoder's.

    KL(target_scores || scores), the mean over queries (Hinton, Vinyals and Dean 2015, with passages instead of
    classes): errors count where they would change a ranking.

    Args:
        scores: (n, m), as `log_scores` returns it for the vectors of a subnet.
        target_scores: (n, m), the same for the full encoder's vectors.
    """
    return F.kl_div(scores, target_scores, reduction="batchmean", log_target=True)
