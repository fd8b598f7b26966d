"""Weights stored in 8 bits: each row (last dimension) of a tensor is whole numbers from -127 to 127 times a scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from elasticdenser.errors import ModelError

_SCALE = ".scale"


def quantise(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return the tensors to store for a tensor: `name`, int8, and `name.scale`, float32, one number a row.

    Raises:
        ModelError: The tensor holds a number that is not finite.
    """
    rows = tensor.detach().float().cpu().contiguous()  # safetensors refuses others
    if not rows.isfinite().all():
        raise ModelError(f"{name} holds numbers that are not finite: train again with a lower learning rate")
    scale = rows.abs().amax(dim=-1, keepdim=True) / 127
    return {name: (rows / scale.clamp(min=1e-30)).round().to(torch.int8), name + _SCALE: scale.squeeze(-1)}


def dequantise(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return stored tensors in float32; those in 8 bits are multiplied by their scales.

    Raises:
        ModelError: A scale is missing or has another shape.
    """
    tensors = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALE):
            continue
        if tensor.dtype == torch.int8:
            scale = stored.get(name + _SCALE)
            if scale is None or scale.shape != tensor.shape[:-1]:
                raise ModelError(f"{name} in 8 bits has no scale for each of its rows: fetch the model again")
            tensors[name] = tensor.float() * scale.float().unsqueeze(-1)
        else:
            tensors[name] = tensor.float()
    return tensors
