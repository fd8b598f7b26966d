"""Modules behind the pooling on disk: what they compute, and the dimensions of the vectors that leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import Count, Module, read_object, value_of

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
"""Activations of Dense modules, classes of `torch.nn`."""


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """Settings of a Dense module: a matrix, maybe a bias, and an activation.

    Args:
        n_inputs: Dimensions that it takes.
        n_outputs: Dimensions that it gives.
        bias: Whether it adds a bias.
        activation: One of `ACTIVATIONS`.
        residual: Whether its input is added to its output, through a matrix where the dimensions differ.
    """

    n_inputs: int
    n_outputs: int
    bias: bool
    activation: str
    residual: bool


def read_dense(folder: Path) -> DenseSettings:
    """Read the settings of a Dense module.

    Raises:
        ModelError: A value is missing or wrong, or the activation is not supported.
    """
    path = folder / "config.json"
    config = read_object(path)
    name = value_of(config, "activation_function", str, path, "torch.nn.modules.activation.Tanh")
    activation = name.rsplit(".", 1)[-1]
    if not name.startswith("torch.") or activation not in ACTIVATIONS:
        raise ModelError(f"{path}: got the activation {name!r}, expected one of torch.nn's {', '.join(ACTIVATIONS)}")
    _check_places(config, path)
    return DenseSettings(
        n_inputs=value_of(config, "in_features", Count, path),
        n_outputs=value_of(config, "out_features", Count, path),
        bias=value_of(config, "bias", bool, path, True),
        activation=activation,
        residual=value_of(config, "use_residual", bool, path, False),
    )


def output_dim(modules: Sequence[Module], n_dims: int) -> int:
    """Return the dimensions of the vectors that leave the last module.

    Args:
        modules: Modules behind the pooling.
        n_dims: Dimensions of a pooled vector.

    Raises:
        ModelError: A module takes vectors of other dimensions.
    """
    for module in modules:
        path = module.folder / "config.json"
        if module.kind == "Dense":
            settings = read_dense(module.folder)
            expected, n_dims_after = settings.n_inputs, settings.n_outputs
        elif module.kind == "LayerNorm":
            expected = n_dims_after = value_of(read_object(path), "dimension", Count, path)
        else:
            continue
        if expected != n_dims:
            raise ModelError(f"{path}: got vectors of {n_dims} dimensions, expected {expected}: fetch the model again")
        n_dims = n_dims_after
    return n_dims


def _check_places(config: Mapping[str, Any], path: Path) -> None:
    """Check that a Dense module reads and writes the vectors of texts, not those of tokens."""
    for key in ("module_input_name", "module_output_name"):
        place = value_of(config, key, str, path, "sentence_embedding")
        if place != "sentence_embedding":
            raise ModelError(f"{path}: got {key} = {place!r}, expected 'sentence_embedding': choose another model")
