"""Supported architectures: BERT (Devlin et al. 2019) and its siblings, and the names of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticdenser.errors import ModelError


@dataclass(frozen=True, slots=True)
class LayerNames:
    """Names that an architecture gives to the weights of a layer."""

    layer: str
    query_key_value: tuple[str, str, str]
    attention_output: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


_BERT = LayerNames(
    layer="encoder.layer.{}.",
    query_key_value=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_DISTILBERT = LayerNames(
    layer="transformer.layer.{}.",
    query_key_value=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "distilbert": _DISTILBERT,
}
"""Names of the weights by the `model_type` of `config.json`."""

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
"""Our names of the activations by those of `config.json`."""


def count_of(config: Mapping[str, Any], *names: str) -> int:
    """Return a number of `config.json` that has one of several names.

    Raises:
        ModelError: It is missing, or not a whole number above 0.
    """
    for name in names:
        value = config.get(name)
        if value is not None:
            if type(value) is not int or value < 1:
                raise ModelError(
                    f"the model's config.json has {name} = {value!r}, expected a whole number above 0: fetch the "
                    "model again"
                )
            return value
    raise ModelError(f"the model's config.json has no {' or '.join(names)}: fetch the model again")


def activation_of(config: Mapping[str, Any]) -> str:
    """Return our name of the activation in `config.json`."""
    return ACTIVATIONS[config.get("hidden_act") or config.get("activation", "gelu")]


def check_supported(config: Mapping[str, Any]) -> None:
    """Check that this code computes a model correctly.

    Raises:
        ModelError: Its type, activation or kind of positions is not supported.
    """
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"got a model of type {kind!r}, expected one of {', '.join(ARCHITECTURES)}: choose such an encoder"
        )
    activation = config.get("hidden_act") or config.get("activation", "gelu")
    if activation not in ACTIVATIONS:
        raise ModelError(
            f"got the activation {activation!r}, expected one of {', '.join(ACTIVATIONS)}: choose another model"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ModelError("got relative position embeddings, expected absolute ones: choose another model")
