"""Trunk of an elastic transformer made of a sentence encoder's files: its shape and its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import (
    ARCHITECTURES,
    LayerNames,
    activation_of,
    check_supported,
    count_of,
    norm_eps,
)
from elasticdenser.models.bert import Weights, distance_biases, position_vectors, read_model
from elasticdenser.models.distances import MAX_DISTANCE, has_distance_bias
from elasticdenser.models.model_files import first_position
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.shape import DEPTHS, ElasticShape
from elasticdenser.models.trunk import ElasticTrunk


def shape_of(
    config: Mapping[str, Any],
    weights: Weights,
    settings: EncoderSettings,
    widths: tuple[float, ...],
    depths: tuple[int, ...] | None,
) -> ElasticShape:
    """Return the shape of an elastic transformer made of an encoder; by default with the depths of `DEPTHS` it has."""
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
        norm_eps=norm_eps(config),
        widths=widths,
        depths=depths or (*(depth for depth in DEPTHS if depth < n_layers), n_layers),
        max_distance=MAX_DISTANCE if has_distance_bias(config) else 0,
    )


def read_supported(folder: Path) -> tuple[dict[str, Any], Weights]:
    """Return the content of `config.json` and the weights of a supported encoder."""
    config, tensors = read_model(folder)
    check_supported(config)
    return config, Weights(tensors)


@contextmanager
def copying_weights(folder: Path) -> Iterator[None]:
    """Turn errors of copies, which are made without gradients, into a ModelError that names the folder."""
    try:
        with torch.no_grad():
            yield
    except RuntimeError as error:  # raised by copy_ and reshape
        raise ModelError(
            f"the weights in {folder} do not have the shapes of its config.json ({error}): fetch the model again"
        ) from error


def copy_trunk(model: ElasticTrunk, config: Mapping[str, Any], weights: Weights) -> None:
    """Give a trunk an encoder's weights."""
    names = ARCHITECTURES[config["model_type"]]
    model.tokens.copy_(weights.get("embeddings.word_embeddings.weight"))
    model.positions.copy_(position_vectors(config, weights))
    model.norm.copy_(_norm(weights, "embeddings.LayerNorm"))
    biases = distance_biases(config, weights)
    for number, layer in enumerate(model.layers):
        _copy_layer(layer, weights, names, names.layer.format(number))
        if biases is not None:
            layer.distance_bias.copy_(biases)


def _copy_layer(layer: Any, weights: Weights, names: LayerNames, prefix: str) -> None:
    for part, name in enumerate(names.query_key_value):
        layer.qkv[part].copy_(weights.get(f"{prefix}{name}.weight").reshape(layer.qkv[part].shape))
        layer.qkv_bias[part].copy_(weights.get(f"{prefix}{name}.bias").reshape(layer.qkv_bias[part].shape))
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
