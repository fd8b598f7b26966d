"""Losses of a classifier: towards labels, towards outputs of a larger model, and towards hidden states."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

_NO_CLASS = -1


def label_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of classes, or the mean squared error of a regression.

    Args:
        outputs: (n, n_classes) logits, or (n, 1) numbers.
        labels: (n,), numbers of classes, or numbers; NaN where there is none, which counts as a loss of 0 in the mean.
    """
    known = ~labels.isnan()
    if outputs.shape[1] == 1:
        return ((outputs[:, 0] - labels.nan_to_num()).square() * known).mean()
    classes = labels.masked_fill(~known, _NO_CLASS).long()
    return F.cross_entropy(outputs, classes, ignore_index=_NO_CLASS, reduction="sum") / len(labels)


def output_loss(outputs: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the divergence from the probabilities of another model (Hinton, Vinyals and Dean 2015).

    T^2 KL(targets || outputs), the mean over examples; of a regression, the mean squared error.

    Args:
        outputs: (n, n_outputs).
        targets: The same of the other model.
        temperature: T.
    """
    if outputs.shape[1] == 1:
        return F.mse_loss(outputs, targets)
    log_probabilities = (outputs / temperature).log_softmax(dim=1)
    expected = (targets / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(log_probabilities, expected, reduction="batchmean", log_target=True)


def state_loss(states: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error of hidden states, (n, length, hidden), over the tokens of the mask."""
    weights = mask.unsqueeze(-1)
    return ((states - targets).square() * weights).sum() / (weights.sum() * states.shape[-1])
