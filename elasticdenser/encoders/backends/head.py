"""Modules behind the pooling, computed by torch in float32: Dense, LayerNorm and Normalize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from elasticdenser.errors import ModelError
from elasticdenser.models.head_files import read_dense
from elasticdenser.models.model_files import NORMALIZE, Module
from elasticdenser.models.weights_files import head_weights


class Dense(nn.Module):
    """A matrix, maybe a bias, an activation, and maybe the input added to the output."""

    def __init__(self, linear: nn.Linear, activation: nn.Module, residual: nn.Module | None) -> None:
        super().__init__()
        self.linear, self.activation, self.residual = linear, activation, residual

    def forward(self, vectors: Tensor) -> Tensor:
        """Return float32, (n, n_outputs)."""
        output: Tensor = self.activation(self.linear(vectors))
        return output if self.residual is None else output + self.residual(vectors)


class Normalize(nn.Module):
    """Division by the length."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors of length 1."""
        return F.normalize(vectors, dim=-1)


def load_head(modules: Sequence[Module], device: torch.device) -> nn.Sequential:
    """Load modules behind the pooling.

    Normalisation at the end is left out: the settings of the encoder say whether its vectors are normalised.

    Raises:
        ModelError: Files are missing or damaged.
    """
    kinds = [module for module in modules if module.kind != "Dropout"]  # which does nothing outside of training
    while kinds and kinds[-1].kind == NORMALIZE:
        kinds.pop()
    return nn.Sequential(*map(_load, kinds)).to(device).eval().requires_grad_(False)


def _load(module: Module) -> nn.Module:
    if module.kind == NORMALIZE:
        return Normalize()
    weights = _read_weights(module)
    prefix = "linear" if module.kind == "Dense" else "norm"
    try:
        if module.kind == "LayerNorm":
            norm = nn.LayerNorm(len(weights["norm.weight"]))
            norm.load_state_dict(_part(weights, prefix))
            return norm
        settings = read_dense(module.folder)
        linear = nn.Linear(settings.n_inputs, settings.n_outputs, bias=settings.bias)
        linear.load_state_dict(_part(weights, prefix))
        residual: nn.Module | None = nn.Identity() if settings.residual else None
        if settings.residual and settings.n_inputs != settings.n_outputs:
            residual = nn.Linear(settings.n_inputs, settings.n_outputs, bias=False)
            residual.load_state_dict(_part(weights, "residual"))
    except (RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{module.folder}: its weights do not fit its config.json ({error}): fetch the model again"
        ) from error
    return Dense(linear, getattr(nn, settings.activation)(), residual)


def _part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, in float32."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor.float() for name, tensor in weights.items() if name.startswith(start)}


def _read_weights(module: Module) -> dict[str, Tensor]:
    path = head_weights(module)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the loaders have their own types of errors
        raise ModelError(f"{path} cannot be read ({error}): fetch the model again") from error
    return weights
