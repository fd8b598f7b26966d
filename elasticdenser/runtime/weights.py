"""What the runtime reads of a full encoder: its transformer.

Layers are read one at a time, when they are asked for; token vectors stay in their file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elasticdenser.errors import ModelError
from elasticdenser.models.locate import weights_file
from elasticdenser.models.settings import first_position, read_json, transformer_folder
from elasticdenser.runtime.tensors import Array, Floats, Tensors

_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One layer, float32; sizes use its first heads and neurons.

    Args:
        qkv: (n_heads, 3, head_dim, hidden): queries, keys and values of a head stand together.
        qkv_bias: (n_heads, 3, head_dim).
        out: (hidden, n_heads * head_dim).
        out_bias: (hidden,).
        up: (n_neurons, hidden).
        up_bias: (n_neurons,).
        down: (hidden, n_neurons).
        down_bias: (hidden,).
        norms: (n_widths, after attention or after the neurons, weight or bias, hidden).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A transformer encoder whose layers are still to be read.

    Args:
        tokens: float16 or float32, (vocabulary, hidden).
        positions: float32, (n_positions, hidden).
        norm: Of the embeddings: float32, (n_widths, weight or bias, hidden).
        layer: Reads a layer by its number.
        n_layers: How many there are.
        n_heads: Attention heads of a layer.
        n_neurons: Feed-forward neurons of a layer.
        activation: `gelu`, `gelu_tanh` or `relu`.
        eps: Of the layer norms.
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


class _LayerNames(NamedTuple):
    """What a family of models calls the weights of a layer."""

    layer: str
    qkv: tuple[str, str, str]
    out: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


_BERT = _LayerNames(
    layer="encoder.layer.{}.",
    qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
    out="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_DISTILBERT = _LayerNames(
    layer="transformer.layer.{}.",
    qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    out="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
_FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "distilbert": _DISTILBERT,
}


def read_full(folder: Path) -> Transformer:
    """Read the full encoder in `folder`.

    Raises:
        ModelError: The files are missing, damaged or of another kind.
    """
    path = weights_file(folder)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} cannot be read without torch: save the model as model.safetensors")
    return _read(_Named(Tensors(path)), read_json(transformer_folder(folder) / "config.json"))


class _Named:
    """Tensors by their names without the prefix that a checkpoint with a head has, and with today's names of norms."""

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
        names = ("weight", "bias") if self.has(f"{name}.weight") else ("gamma", "beta")  # came from TensorFlow
        return np.stack([self.get(f"{name}.{part}") for part in names])


def _read(named: _Named, config: Mapping[str, Any]) -> Transformer:
    names, activation = _checked(config)
    n_heads = _count(config, "num_attention_heads", "n_heads")
    positions = named.get("embeddings.position_embeddings.weight")[first_position(config) :]
    if named.has("embeddings.token_type_embeddings.weight"):
        # Only the first segment is ever used, so its vector joins the positions'.
        positions = positions + named.get("embeddings.token_type_embeddings.weight")[0]
    tokens = named.stored("embeddings.word_embeddings.weight")
    if tokens.dtype not in (np.float16, np.float32):
        tokens = named.get("embeddings.word_embeddings.weight")

    def layer(number: int) -> LayerWeights:
        prefix = names.layer.format(number)

        def joined(part: str) -> Floats:
            stacked = np.stack([named.get(f"{prefix}{name}.{part}") for name in names.qkv])
            return stacked.reshape(3, n_heads, -1, *stacked.shape[2:]).swapaxes(0, 1)

        return LayerWeights(
            qkv=joined("weight"),
            qkv_bias=joined("bias"),
            out=named.get(f"{prefix}{names.out}.weight"),
            out_bias=named.get(f"{prefix}{names.out}.bias"),
            up=named.get(f"{prefix}{names.up}.weight"),
            up_bias=named.get(f"{prefix}{names.up}.bias"),
            down=named.get(f"{prefix}{names.down}.weight"),
            down_bias=named.get(f"{prefix}{names.down}.bias"),
            norms=np.stack([named.norm(prefix + names.attention_norm), named.norm(prefix + names.output_norm)])[None],
        )

    return Transformer(
        tokens=tokens,
        positions=positions,
        norm=named.norm("embeddings.LayerNorm")[None],
        layer=layer,
        n_layers=_count(config, "num_hidden_layers", "n_layers"),
        n_heads=n_heads,
        n_neurons=_count(config, "intermediate_size", "hidden_dim"),
        activation=activation,
        eps=float(config.get("layer_norm_eps", 1e-12)),
    )


def _count(config: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if config.get(name):
            return int(config[name])
    raise ModelError(f"the model's config.json has no {' or '.join(names)}: fetch the model again")


def _checked(config: Mapping[str, Any]) -> tuple[_LayerNames, str]:
    """Return names and activation, or refuse a model that this code would compute wrongly."""
    kind, activation = config.get("model_type"), config.get("hidden_act") or config.get("activation", "gelu")
    if kind not in _FAMILIES:
        raise ModelError(f"got a model of type {kind!r}; supported are {', '.join(_FAMILIES)}: choose one of these")
    if activation not in _ACTIVATIONS:
        raise ModelError(f"got the activation {activation!r}; supported are {', '.join(_ACTIVATIONS)}")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ModelError("got relative position embeddings; only absolute ones are supported")
    return _FAMILIES[kind], _ACTIVATIONS[activation]
