"""Initialisation of an elastic transformer: a full encoder's weights, the most important heads and neurons first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.shape import WIDTHS
from elasticdenser.models.trunk import ElasticTrunk
from elasticdenser.models.trunk_init import copy_trunk, copying_weights, read_supported, shape_of
from elasticdenser.subnet import Subnet


def elastic_from_full(
    folder: Path,
    settings: EncoderSettings,
    *,
    widths: tuple[float, ...] = WIDTHS,
    depths: tuple[int, ...] | None = None,
    layers: tuple[tuple[int, ...], ...] | None = None,
    table: Tensor | None = None,
) -> ElasticBert:
    """Make an elastic model from a sentence encoder's files; at full width and depth it gives the encoder's vectors.

    With other dimensions than the encoder's, for a student, its exits are zero.

    Args:
        folder: Folder of the encoder.
        settings: How its texts become vectors.
        widths: Widths of the grid.
        depths: Depths of the grid; by default those of `DEPTHS` that the encoder has, and all its layers.
        layers: Instead of `depths`: the layers of each.
        table: Token vectors of level 0, (vocabulary, dim), if its vectors are to be inputs of every exit.

    Raises:
        ModelError: The files cannot be used.
        QueryError: The encoder cannot be cut into these subnets.
    """
    config, weights = read_supported(folder)
    shape = shape_of(config, weights, settings, widths, tuple(map(len, layers)) if layers else depths)
    model = ElasticBert(replace(shape, layers=layers or (), level0=table is not None))
    with copying_weights(folder):
        copy_trunk(model, config, weights)
        if model.shape.dim == model.shape.hidden:  # else the vectors of no subnet lie in that space yet
            model.exits.copy_(torch.eye(model.shape.dim))
        if table is not None:
            model.table.copy_(table)
    return model.eval()


def importance(model: ElasticBert, batches: Iterable[tuple[Tensor, Tensor]], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the importance of each head and neuron for the vectors of all depths at full width.

    Importance is the first-order change of the vector with a factor before the head's output or the neuron (Michel et
    al. 2019; Molchanov et al. 2019). The gradient of such a factor is the sum of weight times gradient over the weights
    that it multiplies. The change is taken along random directions, and its squares are summed over depths and batches:
    a loss against the full encoder would have no gradient at full depth, where it is at its minimum.

    Args:
        model: Model whose exits are fitted.
        batches: (token ids, mask), as for `ElasticBert.forward`.
        seed: Seed of the directions.

    Returns:
        float32: heads, (n_layers, n_heads), and neurons, (n_layers, n_neurons).
    """
    outputs = (
        [F.normalize(vectors, dim=-1) for vectors in model.at_depths(token_ids, mask, 1.0, model.shape.depths).values()]
        for token_ids, mask in batches
    )
    return importance_for(model, outputs, seed=seed)


def importance_for(model: ElasticTrunk, outputs: Iterable[Iterable[Tensor]], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the importance of each head and neuron for some outputs; see `importance`.

    Args:
        model: The model that made the outputs, at full width.
        outputs: For each batch, the outputs of each depth, with their graph.
        seed: Seed of the directions.

    Returns:
        float32: heads, (n_layers, n_heads), and neurons, (n_layers, n_neurons).
    """
    shape = model.shape
    heads = torch.zeros(shape.n_layers, shape.n_heads)
    neurons = torch.zeros(shape.n_layers, shape.n_neurons)
    generator = torch.Generator().manual_seed(seed)
    for outputs_of_depths in outputs:
        for output in outputs_of_depths:
            signs = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
            model.zero_grad(set_to_none=True)
            # The depths share their first layers: the next depth needs their graph too.
            torch.autograd.backward((output * signs).sum(), retain_graph=True)
            for number, layer in enumerate(model.layers):
                if layer.out.grad is None or layer.down.grad is None:
                    continue  # not part of this depth
                heads[number] += (layer.out * layer.out.grad).sum(dim=(0, 2)).detach() ** 2
                neurons[number] += (layer.down * layer.down.grad).sum(dim=0).detach() ** 2
    model.zero_grad(set_to_none=True)
    return heads, neurons


def reorder(model: ElasticTrunk, heads: Tensor, neurons: Tensor) -> None:
    """Put the most important heads and neurons of every layer first; at full width the outputs stay the same.

    Args:
        model: Model to change in place.
        heads: Importance of the heads, (n_layers, n_heads).
        neurons: Importance of the neurons, (n_layers, n_neurons).
    """
    with torch.no_grad():
        for layer, head_importance, neuron_importance in zip(model.layers, heads, neurons, strict=True):
            order = head_importance.argsort(descending=True, stable=True)
            layer.qkv.copy_(layer.qkv[:, order])
            layer.qkv_bias.copy_(layer.qkv_bias[:, order])
            layer.out.copy_(layer.out[:, order])
            if model.shape.max_distance:
                layer.distance_bias.copy_(layer.distance_bias[order])
            order = neuron_importance.argsort(descending=True, stable=True)
            layer.up.copy_(layer.up[order])
            layer.up_bias.copy_(layer.up_bias[order])
            layer.down.copy_(layer.down[:, order])


@torch.no_grad()
def fit_exits(model: ElasticBert, batches: Iterable[tuple[Tensor, Tensor, Tensor]], *, ridge: float = 100.0) -> None:
    """Fit every exit to the full encoder's vectors by ridge regression on the exit's inputs.

    The penalty is on the change of an exit, so that few queries hardly change it; at full width and depth it is right
    from the start. Inputs are divided by the norm of the pooled vector, because vectors are compared by direction. The
    largest subnet of a model that `elastic_from_full` made, whose vectors differ from the targets in their norms alone,
    therefore does not change.

    Args:
        model: Model to change in place.
        batches: (token ids, mask, vectors of the full encoder, of any length), as for `ElasticBert.forward`; at least
            a thousand queries in all, read once.
        ridge: Weight of the penalty, as a number of queries.
    """
    device, n_inputs = model.tokens.device, len(_exit(model, model.shape.grid[0]))
    products = {subnet: torch.zeros(n_inputs, n_inputs, dtype=torch.float64) for subnet in model.shape.grid}
    targets = {subnet: torch.zeros(n_inputs, model.shape.dim, dtype=torch.float64) for subnet in model.shape.grid}
    n_queries = 0
    for token_ids, mask, vectors in batches:
        expected = F.normalize(vectors.double().cpu(), dim=-1)
        n_queries += len(expected)
        token_ids, mask = token_ids.to(device), mask.to(device)
        means = model.table_means(token_ids, mask).double().cpu() if model.shape.level0 else expected[:, :0]
        for width in model.shape.widths:
            for depth, pooled in model.pooled_at_depths(token_ids, mask, width, model.shape.depths).items():
                subnet = Subnet(width, depth)
                inputs = _exit_inputs(pooled, means)
                products[subnet] += inputs.T @ inputs
                targets[subnet] += inputs.T @ (expected - inputs @ _exit(model, subnet))
    for subnet in model.shape.grid:
        penalty = _penalty(products[subnet].diag() / n_queries, model.shape.hidden, ridge)
        fitted = _exit(model, subnet) + torch.linalg.solve(products[subnet] + penalty.diag(), targets[subnet])
        weight, bias = model.exit_of(subnet)
        weight.copy_(fitted[: model.shape.hidden].T)
        bias.copy_(fitted[-1])
        if model.shape.level0:
            model.shortcut_of(subnet).copy_(fitted[model.shape.hidden : -1].T)


def _exit_inputs(pooled: Tensor, means: Tensor) -> Tensor:
    """Return float64, (n, n_inputs + 1): pooled vectors, level 0's, and 1, all divided by the pooled norm."""
    pooled = pooled.double().cpu()
    lengths = torch.linalg.vector_norm(pooled, dim=1, keepdim=True)
    return torch.cat([pooled, means, torch.ones_like(lengths)], dim=1).div(lengths)


def _penalty(mean_squares: Tensor, hidden: int, ridge: float) -> Tensor:
    """Return the penalty on each input's weights, as heavy as `ridge` queries with average inputs of its kind."""
    penalty = torch.empty_like(mean_squares)
    penalty[:hidden] = ridge / hidden
    penalty[hidden:-1] = ridge * mean_squares[hidden:-1].mean()
    penalty[-1] = 0  # the bias is free
    return penalty


def _exit(model: ElasticBert, subnet: Subnet) -> Tensor:
    """Return weights and bias of a subnet's exit as one matrix, float64, (n_inputs + 1, dim)."""
    weight, bias = model.exit_of(subnet)
    shortcut = [model.shortcut_of(subnet).T] if model.shape.level0 else []
    return torch.cat([weight.T, *shortcut, bias[None]]).double().cpu()
