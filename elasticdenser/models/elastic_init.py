"""An elastic transformer that starts as a full encoder: its weights, with the most useful heads and neurons first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import FAMILIES, LayerNames, activation_of, check_supported, count_of
from elasticdenser.models.bert import Weights, read_model
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.settings import EncoderSettings, first_position
from elasticdenser.models.shape import DEPTHS, WIDTHS, ElasticShape
from elasticdenser.subnet import Subnet


def elastic_from_full(
    folder: Path,
    settings: EncoderSettings,
    *,
    widths: tuple[float, ...] = WIDTHS,
    depths: tuple[int, ...] | None = None,
    table: Tensor | None = None,
) -> ElasticBert:
    """Make an elastic model of a sentence encoder's files; at full size it gives the encoder's own vectors.

    Args:
        folder: The encoder.
        settings: How its texts become vectors.
        widths: Of the grid.
        depths: Of the grid; by default those of `DEPTHS` that the encoder has, and all its layers.
        table: Level 0, (vocabulary, dim), if its vectors are to be part of every exit.

    Raises:
        ModelError: The files cannot be used.
        QueryError: The encoder cannot be cut like that.
    """
    config, tensors = read_model(folder)
    check_supported(config)
    weights = Weights(tensors)
    model = ElasticBert(replace(_shape(config, weights, settings, widths, depths), level0=table is not None))
    try:
        with torch.no_grad():
            _copy(model, config, weights)
            if table is not None:
                model.table.copy_(table)
    except RuntimeError as error:  # of copy_ and reshape
        raise ModelError(
            f"the weights in {folder} do not have the sizes of its config.json ({error}): fetch the model again"
        ) from error
    return model.eval()


def importance(model: ElasticBert, batches: Iterable[tuple[Tensor, Tensor]], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return how much each head and each neuron matters to the vectors of all depths at full width.

    First-order Taylor: how the vector changes with a factor before the head's output or the neuron (Michel et al. 2019;
    Molchanov et al. 2019). The change is taken along random directions, and its squares are added up over depths and
    batches, because at full depth a loss against the full encoder is at its minimum and has no gradient. Such a
    factor's gradient is the sum of weight times gradient over the weights that it multiplies.

    Args:
        model: Its exits should be fitted.
        batches: (token ids, mask), as for `ElasticBert.forward`.
        seed: Of the directions.

    Returns:
        float32: heads, (n_layers, n_heads), and neurons, (n_layers, n_neurons).
    """
    shape = model.shape
    heads = torch.zeros(shape.n_layers, shape.n_heads)
    neurons = torch.zeros(shape.n_layers, shape.n_neurons)
    generator = torch.Generator().manual_seed(seed)
    for token_ids, mask in batches:
        for vectors in model.at_depths(token_ids, mask, 1.0, shape.depths).values():
            signs = torch.randint(0, 2, vectors.shape, generator=generator) * 2 - 1
            model.zero_grad(set_to_none=True)
            # The depths share their first layers, whose graph the next one needs too.
            torch.autograd.backward((F.normalize(vectors, dim=-1) * signs).sum(), retain_graph=True)
            for at, layer in enumerate(model.layers):
                if layer.out.grad is None or layer.down.grad is None:
                    continue  # not part of this depth
                heads[at] += (layer.out * layer.out.grad).sum(dim=(0, 2)).detach() ** 2
                neurons[at] += (layer.down * layer.down.grad).sum(dim=0).detach() ** 2
    model.zero_grad(set_to_none=True)
    return heads, neurons


def reorder(model: ElasticBert, heads: Tensor, neurons: Tensor) -> None:
    """Put the most useful heads and neurons of every layer first; the full size gives the same vectors as before.

    Args:
        model: Changed in place.
        heads: Importance, (n_layers, n_heads).
        neurons: Importance, (n_layers, n_neurons).
    """
    with torch.no_grad():
        for layer, its_heads, its_neurons in zip(model.layers, heads, neurons, strict=True):
            order = its_heads.argsort(descending=True, stable=True)
            layer.qkv.copy_(layer.qkv[:, order])
            layer.qkv_bias.copy_(layer.qkv_bias[:, order])
            layer.out.copy_(layer.out[:, order])
            order = its_neurons.argsort(descending=True, stable=True)
            layer.up.copy_(layer.up[order])
            layer.up_bias.copy_(layer.up_bias[order])
            layer.down.copy_(layer.down[:, order])


@torch.no_grad()
def fit_exits(model: ElasticBert, batches: Iterable[tuple[Tensor, Tensor, Tensor]], *, ridge: float = 100.0) -> None:
    """Fit every exit to the full encoder's vectors by ridge regression on what the exit is given.

    The penalty is on the change of an exit: with few queries it stays what it is, which at full size is right already.
    Inputs are divided by the length of the pooled vector, as vectors are compared by direction; so the full size of a
    model that `elastic_from_full` made, whose vectors are the targets but for their length, is left as it is.

    Args:
        model: Changed in place.
        batches: (token ids, mask, vectors of the full encoder, of any length), as for `ElasticBert.forward`; a
            thousand queries and more in all, read once.
        ridge: Weight of the penalty, as the number of queries that would weigh as much.
    """
    device, n_given = model.tokens.device, len(_exit(model, model.shape.grid[0]))
    products = {subnet: torch.zeros(n_given, n_given, dtype=torch.float64) for subnet in model.shape.grid}
    targets = {subnet: torch.zeros(n_given, model.shape.dim, dtype=torch.float64) for subnet in model.shape.grid}
    n_queries = 0
    for token_ids, mask, vectors in batches:
        wanted = F.normalize(vectors.double().cpu(), dim=-1)
        n_queries += len(wanted)
        token_ids, mask = token_ids.to(device), mask.to(device)
        means = model.table_means(token_ids, mask).double().cpu() if model.shape.level0 else wanted[:, :0]
        for width in model.shape.widths:
            for depth, pooled in model.pooled_at_depths(token_ids, mask, width, model.shape.depths).items():
                subnet = Subnet(width, depth)
                given = _given(pooled, means)
                products[subnet] += given.T @ given
                targets[subnet] += given.T @ (wanted - given @ _exit(model, subnet))
    for subnet in model.shape.grid:
        penalty = _penalty(products[subnet].diag() / n_queries, model.shape.hidden, ridge)
        fitted = _exit(model, subnet) + torch.linalg.solve(products[subnet] + penalty.diag(), targets[subnet])
        weight, bias = model.exit_of(subnet)
        weight.copy_(fitted[: model.shape.hidden].T)
        bias.copy_(fitted[-1])
        if model.shape.level0:
            model.shortcut_of(subnet).copy_(fitted[model.shape.hidden : -1].T)


def _given(pooled: Tensor, means: Tensor) -> Tensor:
    """Return float64, (n, inputs + 1): pooled vectors of length 1, level 0's at that scale, what the bias is times."""
    pooled = pooled.double().cpu()
    lengths = torch.linalg.vector_norm(pooled, dim=1, keepdim=True)
    return torch.cat([pooled, means, torch.ones_like(lengths)], dim=1).div(lengths)


def _penalty(mean_squares: Tensor, hidden: int, ridge: float) -> Tensor:
    """Return the penalty on each input's weights: as heavy as `ridge` queries are on inputs of its kind on average."""
    penalty = torch.empty_like(mean_squares)
    penalty[:hidden] = ridge / hidden
    penalty[hidden:-1] = ridge * mean_squares[hidden:-1].mean()
    penalty[-1] = 0  # the bias is free
    return penalty


def _exit(model: ElasticBert, subnet: Subnet) -> Tensor:
    """Return what a size multiplies its exit's inputs by as one matrix, float64, (inputs + 1, dim)."""
    weight, bias = model.exit_of(subnet)
    shortcut = [model.shortcut_of(subnet).T] if model.shape.level0 else []
    return torch.cat([weight.T, *shortcut, bias[None]]).double().cpu()


def _shape(
    config: Mapping[str, Any],
    weights: Weights,
    settings: EncoderSettings,
    widths: tuple[float, ...],
    depths: tuple[int, ...] | None,
) -> ElasticShape:
    n_layers = count_of(config, "num_hidden_layers", "n_layers")
    tokens = weights.get("embeddings.word_embeddings.weight")
    return ElasticShape(
        n_layers=n_layers,
        n_heads=count_of(config, "num_attention_heads", "n_heads"),
        hidden=tokens.shape[1],
        n_neurons=count_of(config, "intermediate_size", "hidden_dim"),
        vocabulary=tokens.shape[0],
        n_positions=len(weights.get("embeddings.position_embeddings.weight")) - first_position(config),
        dim=settings.dim,
        pooling=settings.pooling,
        activation=activation_of(config),
        norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        widths=widths,
        depths=depths or (*(depth for depth in DEPTHS if depth < n_layers), n_layers),
    )


def _copy(model: ElasticBert, config: Mapping[str, Any], weights: Weights) -> None:
    names = FAMILIES[config["model_type"]]
    model.tokens.copy_(weights.get("embeddings.word_embeddings.weight"))
    positions = weights.get("embeddings.position_embeddings.weight")[first_position(config) :].float()
    if weights.has("embeddings.token_type_embeddings.weight"):
        # Only the first segment is ever used, so its vector joins the positions'.
        positions = positions + weights.get("embeddings.token_type_embeddings.weight")[0]
    model.positions.copy_(positions)
    model.norm.copy_(_norm(weights, "embeddings.LayerNorm"))
    for number, layer in enumerate(model.layers):
        _copy_layer(layer, weights, names, names.layer.format(number))
    model.exits.copy_(torch.eye(model.shape.dim, model.shape.hidden))


def _copy_layer(layer: Any, weights: Weights, names: LayerNames, prefix: str) -> None:
    for at, name in enumerate(names.query_key_value):
        layer.qkv[at].copy_(weights.get(f"{prefix}{name}.weight").reshape(layer.qkv[at].shape))
        layer.qkv_bias[at].copy_(weights.get(f"{prefix}{name}.bias").reshape(layer.qkv_bias[at].shape))
    layer.out.copy_(weights.get(f"{prefix}{names.attention_output}.weight").reshape(layer.out.shape))
    layer.out_bias.copy_(weights.get(f"{prefix}{names.attention_output}.bias"))
    layer.up.copy_(weights.get(f"{prefix}{names.up}.weight"))
    layer.up_bias.copy_(weights.get(f"{prefix}{names.up}.bias"))
    layer.down.copy_(weights.get(f"{prefix}{names.down}.weight"))
    layer.down_bias.copy_(weights.get(f"{prefix}{names.down}.bias"))
    layer.norms[:, 0].copy_(_norm(weights, prefix + names.attention_norm))
    layer.norms[:, 1].copy_(_norm(weights, prefix + names.output_norm))


def _norm(weights: Weights, name: str) -> Tensor:
    return torch.stack([weights.get(f"{name}.weight"), weights.get(f"{name}.bias")]).float()
