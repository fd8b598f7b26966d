"""Weights of a full encoder, read without torch.

Each layer is read when it is needed; token vectors stay in their memory-mapped file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.tensors import Tensors
from elasticdenser.models.architectures import (
    ARCHITECTURES,
    activation_of,
    check_supported,
    count_of,
    expected_shapes,
    norm_eps,
)
from elasticdenser.models.distances import BUCKETS, TABLE, has_distance_bias
from elasticdenser.models.model_files import first_position, read_config
from elasticdenser.models.weights_files import weights_file


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """Weights of one layer, float32; narrower subnets use its first heads and neurons.

    Args:
        qkv: (n_heads, 3, head_dim, hidden): query, key and value of a head lie together.
        qkv_bias: (n_heads, 3, head_dim).
        out: (hidden, n_heads * head_dim).
        out_bias: (hidden,).
        up: (n_neurons, hidden).
        up_bias: (n_neurons,).
        down: (hidden, n_neurons).
        down_bias: (hidden,).
        norms: (n_widths, after attention or after the neurons, weight or bias, hidden).
        distance_bias: (n_heads, 2 * max_distance + 1): attention biases of keys from that far before the query to that
            far behind it; None where there are none.
    """

    qkv: Floats
    qkv_bias: Floats
    out: Floats
    out_bias: Floats
    up: Floats
    up_bias: Floats
    down: Floats
    down_bias: Floats
    norms: Floats
    distance_bias: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """Transformer encoder whose layers are read on request.

    Args:
        tokens: float16 or float32, (vocabulary, hidden).
        positions: float32, (n_positions, hidden).
        norm: Layer norm of the embeddings: float32, (n_widths, weight or bias, hidden).
        layer: Reads a layer by its number.
        n_layers: Number of layers.
        n_heads: Attention heads of a layer.
        n_neurons: Feed-forward neurons of a layer.
        activation: `gelu`, `gelu_tanh` or `relu`.
        eps: Added to variances in the layer norms.
    """

    tokens: Array
    positions: Floats
    norm: Floats
    layer: Callable[[int], LayerWeights]
    n_layers: int
    n_heads: int
    n_neurons: int
    activation: str
    eps: float

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return int(self.tokens.shape[1])

    @property
    def head_dim(self) -> int:
        """Dimensions of a head."""
        return self.hidden // self.n_heads


def read_full_encoder(folder: Path) -> Transformer:
    """Read the full encoder in `folder`.

    Raises:
        ModelError: Files are missing or damaged, or the model is not supported.
    """
    path = weights_file(folder)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} cannot be read without torch: save the model as model.safetensors")
    return _transformer_of(_Checkpoint(Tensors(path)), read_config(folder))


class _Checkpoint:
    """Tensors of a checkpoint by the encoder's names, whatever prefix and spelling of norms the file has."""

    def __init__(self, tensors: Tensors) -> None:
        marker = "embeddings.word_embeddings.weight"
        self.tensors = tensors
        self._prefix = next((name.removesuffix(marker) for name in tensors.names() if name.endswith(marker)), "")

    def has(self, name: str) -> bool:
        return self._prefix + name in self.tensors.names()

    def get(self, name: str) -> Floats:
        return self.tensors.floats(self._prefix + name)

    def stored(self, name: str) -> Array:
        return self.tensors.stored(self._prefix + name)

    def norm(self, name: str) -> Floats:
        return np.stack([self.get(self._spelled(f"{name}.{part}")) for part in ("weight", "bias")])

    def check(self, config: Mapping[str, Any]) -> None:
        """Check the shapes of all weights against `config.json`: the kernel reads as many numbers as it says."""
        for name, shape in expected_shapes(config):
            if name != "embeddings.token_type_embeddings.weight" or self.has(name):
                self.tensors.check(self._prefix + self._spelled(name), shape)

    def _spelled(self, name: str) -> str:
        """Return the name that the file has for a weight: checkpoints converted from TensorFlow have gamma and beta."""
        if "LayerNorm" not in name or self.has(name):
            return name
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def _transformer_of(checkpoint: _Checkpoint, config: Mapping[str, Any]) -> Transformer:
    check_supported(config)
    names = ARCHITECTURES[config["model_type"]]
    checkpoint.check(config)
    n_heads = count_of(config, "num_attention_heads", "n_heads")
    positions = checkpoint.get("embeddings.position_embeddings.weight")[first_position(config) :]
    if checkpoint.has("embeddings.token_type_embeddings.weight"):
        # Texts have only the first segment, so its vector is added to the positions.
        positions = positions + checkpoint.get("embeddings.token_type_embeddings.weight")[0]
    tokens = checkpoint.stored("embeddings.word_embeddings.weight")
    if tokens.dtype not in (np.float16, np.float32):
        tokens = checkpoint.get("embeddings.word_embeddings.weight")

    distance_bias = None
    if has_distance_bias(config):
        distance_bias = checkpoint.get(TABLE)[BUCKETS].T

    def layer(number: int) -> LayerWeights:
        prefix = names.layer.format(number)

        def joined(kind: str) -> Floats:
            parts = [checkpoint.get(f"{prefix}{name}.{kind}") for name in names.query_key_value]
            return np.stack([part.reshape(n_heads, -1, *part.shape[1:]) for part in parts], axis=1)

        return LayerWeights(
            qkv=joined("weight"),
            qkv_bias=joined("bias"),
            out=checkpoint.get(f"{prefix}{names.attention_output}.weight"),
            out_bias=checkpoint.get(f"{prefix}{names.attention_output}.bias"),
            up=checkpoint.get(f"{prefix}{names.up}.weight"),
            up_bias=checkpoint.get(f"{prefix}{names.up}.bias"),
            down=checkpoint.get(f"{prefix}{names.down}.weight"),
            down_bias=checkpoint.get(f"{prefix}{names.down}.bias"),
            norms=np.stack(
                [checkpoint.norm(prefix + names.attention_norm), checkpoint.norm(prefix + names.output_norm)]
            )[None],
            distance_bias=distance_bias,
        )

    return Transformer(
        tokens=tokens,
        positions=positions,
        norm=checkpoint.norm("embeddings.LayerNorm")[None],
        layer=layer,
        n_layers=count_of(config, "num_hidden_layers", "n_layers"),
        n_heads=n_heads,
        n_neurons=count_of(config, "intermediate_size", "hidden_dim"),
        activation=activation_of(config),
        eps=norm_eps(config),
    )
