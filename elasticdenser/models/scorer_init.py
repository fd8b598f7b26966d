"""Initialisation of scorers and classifiers: weights of a full encoder, or of its trained subnets; fitted exits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from elasticdenser.models.bert import segment_vector
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.heads import ElasticPairHead
from elasticdenser.models.logits import LAYER_CHOICES, ElasticLogits
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.shape import WIDTHS, ElasticShape
from elasticdenser.models.trunk_init import copy_trunk, copying_weights, read_supported, shape_of
from elasticdenser.subnet import Subnet

Head = TypeVar("Head", bound=ElasticPairHead)


def scorer_from_full(
    folder: Path,
    settings: EncoderSettings,
    *,
    widths: tuple[float, ...] = WIDTHS,
    depths: tuple[int, ...] | None = None,
    pooling: str = "cls",
) -> ElasticScorer:
    """Make a scorer of pairs from a sentence encoder's files; its exits are zeros.

    Args:
        folder: Folder of the encoder.
        settings: Settings of the encoder.
        widths: As for `elastic_from_full`.
        depths: As for `elastic_from_full`.
        pooling: What the exits take: `cls` or `mean`.

    Raises:
        ModelError: The files cannot be used.
        QueryError: The encoder cannot be cut into these subnets.
    """
    return pair_head_from_full(
        folder, settings, ElasticScorer, n_outputs=1, widths=widths, depths=depths, pooling=pooling
    )


def logits_from_full(
    folder: Path,
    settings: EncoderSettings,
    *,
    n_outputs: int,
    widths: tuple[float, ...] = WIDTHS,
    depths: tuple[int, ...] | None = None,
    pooling: str = "cls",
    layers: str = LAYER_CHOICES[0],
) -> ElasticLogits:
    """Make a classifier from a sentence encoder's files; its exits are zeros.

    Args:
        folder: Folder of the encoder.
        settings: Settings of the encoder.
        n_outputs: Number of classes; 1 for a regression.
        widths: As for `elastic_from_full`.
        depths: As for `elastic_from_full`.
        pooling: What the exits take: `cls` or `mean`.
        layers: Layers of a depth, as in `ElasticLogits`.

    Raises:
        ModelError: The files cannot be used.
        QueryError: The encoder cannot be cut into these subnets, or there is no such choice of layers.
    """
    make = partial(ElasticLogits, layers=layers)
    return pair_head_from_full(
        folder, settings, make, n_outputs=n_outputs, widths=widths, depths=depths, pooling=pooling
    )


def pair_head_from_full(
    folder: Path,
    settings: EncoderSettings,
    make: Callable[[ElasticShape], Head],
    *,
    n_outputs: int,
    widths: tuple[float, ...],
    depths: tuple[int, ...] | None,
    pooling: str,
) -> Head:
    """Make a head over pairs from a sentence encoder's files; see `scorer_from_full` and `logits_from_full`."""
    config, weights = read_supported(folder)
    shape = replace(shape_of(config, weights, settings, widths, depths), dim=n_outputs, pooling=pooling)
    model = make(shape)
    with copying_weights(folder):
        copy_trunk(model, config, weights)
        model.segment.copy_(segment_vector(weights, shape.hidden))
    model.eval()
    return model


def copy_trained_trunk(model: ElasticPairHead, trained: ElasticBert, *, with_layers: bool = True) -> None:
    """Give a head over pairs the trunk of a trained elastic encoder, whose narrow subnets are more than cuts.

    Args:
        model: The head; its shape must be the encoder's but for the outputs, the pooling, and the layers of depths.
        trained: The encoder.
        with_layers: Whether depths get the layers that they have in the encoder; both must then have the same depths if
            the encoder's layers were chosen.
    """
    if with_layers:
        model.shape = replace(model.shape, layers=trained.shape.layers)
    source = trained.state_dict()
    names = [name for name in model.state_dict() if not name.startswith("exit") and name != "segment"]
    model.load_state_dict({name: source[name] for name in names}, strict=False)


@torch.no_grad()
def fit_score_exits(
    model: ElasticScorer, batches: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]], *, ridge: float = 100.0
) -> None:
    """Fit every exit to target scores by ridge regression on the differences within the lists of candidates.

    Args:
        model: Model to change in place.
        batches: (token ids, mask, targets, lists): target scores, (n,), and the list of each pair, int64, (n,); read
            once.
        ridge: Weight of the penalty on the weights, as a number of pairs with average inputs.
    """
    hidden, device = model.shape.hidden, model.tokens.device
    products = {subnet: torch.zeros(hidden, hidden, dtype=torch.float64) for subnet in model.shape.grid}
    targets = {subnet: torch.zeros(hidden, dtype=torch.float64) for subnet in model.shape.grid}
    n_pairs = 0
    for token_ids, mask, scores, lists in batches:
        n_pairs += len(scores)
        wanted = centred(scores.double(), lists)
        for width in model.shape.widths:
            by_depth = model.pooled_at_depths(token_ids.to(device), mask.to(device), width, model.shape.depths)
            for depth, pooled in by_depth.items():
                inputs = centred(pooled.double().cpu(), lists)
                products[Subnet(width, depth)] += inputs.T @ inputs
                targets[Subnet(width, depth)] += inputs.T @ wanted
    for subnet in model.shape.grid:
        penalty = ridge * products[subnet].diag().mean() / max(1, n_pairs)
        weight, _ = model.exit_of(subnet)
        weight[0] = torch.linalg.solve(products[subnet] + penalty * torch.eye(hidden), targets[subnet])


def centred(values: Tensor, lists: Tensor) -> Tensor:
    """Return values, (n, ...), less the mean of their list."""
    n_lists = int(lists.max()) + 1
    sums = values.new_zeros(n_lists, *values.shape[1:]).index_add_(0, lists, values)
    counts = torch.bincount(lists, minlength=n_lists).clamp(min=1).reshape(-1, *[1] * (values.dim() - 1))
    return values - (sums / counts)[lists]
