"""Keys of caches of activations: hashes of all that the hidden states after a layer depend on, beside the token ids.

They are of the weights up to that layer, not of a whole file: a model of which only later layers, or exits, were
changed has the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.activation_manifest import ActivationSource
from elasticdenser.models.architectures import (
    ARCHITECTURES,
    activation_of,
    count_of,
    expected_shapes,
    hidden_size,
    norm_eps,
)
from elasticdenser.models.bert import Weights
from elasticdenser.models.distances import TABLE
from elasticdenser.models.model_files import first_position
from elasticdenser.models.trunk import ElasticTrunk


def source_of_bert(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], n_layers: int, dtype: torch.dtype
) -> ActivationSource:
    """Return the source of the states after the first layers of a `Bert`.

    Args:
        config: Content of its `config.json`.
        tensors: Its tensors by name.
        n_layers: Number of layers.
        dtype: Arithmetic of the matrix products.

    Raises:
        ModelError: The model does not have more layers than that.
    """
    depth = count_of(config, "num_hidden_layers", "n_layers")
    if not 0 < n_layers < depth:
        raise ModelError(f"got {n_layers} recycled layers of a model of {depth}, expected 1 to {depth - 1}")
    weights, layer = Weights(tensors), ARCHITECTURES[config["model_type"]].layer
    prefixes = ("embeddings.", TABLE, *map(layer.format, range(n_layers)))
    names = [name for name, _ in expected_shapes(config) if name.startswith(prefixes) and weights.has(name)]
    settings = {
        "kind": config["model_type"],
        "heads": count_of(config, "num_attention_heads", "n_heads"),
        "activation": activation_of(config),
        "eps": norm_eps(config),
        "first_position": first_position(config),
        "dtype": str(dtype),
    }
    key = _hash_of(settings, ((name, weights.get(name)) for name in names))
    return ActivationSource(key=key, layer=n_layers, hidden=hidden_size(config))


def source_of_trunk(model: ElasticTrunk, n_layers: int, width: float, dtype: torch.dtype) -> ActivationSource:
    """Return the source of the states after the first layers of an elastic trunk, as `lower_states` computes them."""
    shape = model.shape
    settings = {
        "kind": "elastic",
        "width": width,
        "heads": shape.n_heads,
        "activation": shape.activation,
        "eps": shape.norm_eps,
        "dtype": str(dtype),
    }
    names = lower_parameters(model, n_layers)
    weights = model.state_dict()
    key = _hash_of(settings, ((name, weights[name]) for name in names))
    return ActivationSource(key=key, layer=n_layers, hidden=shape.hidden)


def lower_parameters(model: ElasticTrunk, n_layers: int) -> list[str]:
    """Return the names of the parameters that the states after the first layers depend on."""
    prefixes = tuple(f"blocks.{number}." for number in range(n_layers))
    embedding = ("tokens", "positions", "norm", "segment")
    return [name for name, _ in model.named_parameters() if name in embedding or name.startswith(prefixes)]


def _hash_of(settings: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in tensors:
        values = tensor.detach().float().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()
