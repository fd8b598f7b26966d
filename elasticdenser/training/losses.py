"""What a size of the elastic encoder is trained towards: the full encoder's vector, and its scores over passages."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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


def score_distribution(found: Tensor, wanted: Tensor) -> Tensor:
    """Return how far a distribution of scores over passages is from the full encoder's.

    KL(wanted || found), the mean over queries (Hinton, Vinyals and Dean 2015, with passages in the place of classes):
    errors count where they would change a ranking.

    Args:
        found: (n, m), as `log_scores` gives it for vectors of a size.
        wanted: (n, m), for the full encoder's.
    """
    return F.kl_div(found, wanted, reduction="batchmean", log_target=True)
