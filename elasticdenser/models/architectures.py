"""Supported architectures: BERT (Devlin et al. 2019) and its siblings, and the names of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elasticdenser.errors import ModelError
from elasticdenser.models.distances import N_BUCKETS, TABLE, has_distance_bias
from elasticdenser.models.model_files import PositiveNumber, value_of


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
_MPNET = replace(
    _BERT,
    query_key_value=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
)
ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "distilbert": _DISTILBERT,
    "mpnet": _MPNET,
}
"""Names of the weights by the `model_type` of `config.json`."""

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
"""Our names of the activations by those of `config.json`."""


ANY = -1
"""In an expected shape: any length of a dimension except 0."""


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


def hidden_size(config: Mapping[str, Any]) -> int:
    """Return the width of the residual stream, which is the number of dimensions of a pooled vector."""
    return count_of(config, "hidden_size", "dim", "d_model", "n_embd")


def norm_eps(config: Mapping[str, Any]) -> float:
    """Return the number that is added to variances in the layer norms."""
    return value_of(config, "layer_norm_eps", PositiveNumber, "the model's config.json", 1e-12)


def activation_of(config: Mapping[str, Any]) -> str:
    """Return our name of the activation in `config.json`."""
    return ACTIVATIONS[config.get("hidden_act") or config.get("activation", "gelu")]


def check_supported(config: Mapping[str, Any]) -> None:
    """Check that this code computes a model correctly.

    Raises:
        ModelError: Its type, activation or kind of positions is not supported.
    """
    if reason := _obstacle(config):
        raise ModelError(reason)


def is_supported(config: Mapping[str, Any]) -> bool:
    """Return whether this code computes a model correctly: it is a BERT or a sibling, with usual activations."""
    return not _obstacle(config)


def has_relative_positions(config: Mapping[str, Any]) -> bool:
    """Return whether a model has BERT's variant of relative positions, which transformers 5 ignores without notice."""
    return bool(config.get("position_embedding_type", "absolute") != "absolute")


def _obstacle(config: Mapping[str, Any]) -> str:
    """Return the reason why this code does not compute a model, and the way out; empty if it does."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        return f"got a model of type {kind!r}, expected one of {', '.join(ARCHITECTURES)}: choose such an encoder"
    activation = config.get("hidden_act") or config.get("activation", "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        return f"got the activation {activation!r}, expected one of {', '.join(ACTIVATIONS)}: choose another model"
    if has_relative_positions(config):
        return "got relative position embeddings, expected absolute ones: choose another model"
    return ""


def expected_shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names of the weights of a supported model, without the checkpoint's prefix, and the shapes they must have.

    The weight `embeddings.token_type_embeddings.weight` may be missing.

    Raises:
        ModelError: A number in `config.json` is missing or out of range.
    """
    names = ARCHITECTURES[config["model_type"]]
    n_heads, hidden = count_of(config, "num_attention_heads", "n_heads"), hidden_size(config)
    n_neurons = count_of(config, "intermediate_size", "hidden_dim")
    if hidden % n_heads:
        raise ModelError(
            f"the model's config.json has {n_heads} heads of a hidden size of {hidden}; expected heads of equal size: "
            "fetch the model again"
        )
    for table, key in (("word", "vocab_size"), ("position", "max_position_embeddings"), ("token_type", None)):
        n_rows = count_of(config, key) if key is not None and config.get(key) is not None else ANY
        yield f"embeddings.{table}_embeddings.weight", (n_rows, hidden)
    yield from _norm_shapes("embeddings.LayerNorm", hidden)
    if has_distance_bias(config):
        yield TABLE, (N_BUCKETS, n_heads)
    products = {
        **dict.fromkeys((*names.query_key_value, names.attention_output), (hidden, hidden)),
        names.up: (n_neurons, hidden),
        names.down: (hidden, n_neurons),
    }
    for prefix in map(names.layer.format, range(count_of(config, "num_hidden_layers", "n_layers"))):
        for name, shape in products.items():
            yield f"{prefix}{name}.weight", shape
            yield f"{prefix}{name}.bias", shape[:1]
        yield from _norm_shapes(prefix + names.attention_norm, hidden)
        yield from _norm_shapes(prefix + names.output_norm, hidden)


def _norm_shapes(name: str, hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.{part}", (hidden,)) for part in ("weight", "bias"))


def fits_shape(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Return whether a shape is the expected one, which may hold `ANY`."""
    return len(shape) == len(expected) and all(
        got == length or (length == ANY and got > 0) for got, length in zip(shape, expected, strict=True)
    )
