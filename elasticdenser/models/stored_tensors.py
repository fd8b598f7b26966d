"""Tensors of a trained model on disk: what is stored in float16, how a file is read, and what it must hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.int8_rows import dequantise, quantise
from elasticdenser.models.manifest import FETCH_AGAIN


def is_layer_matrix(name: str) -> bool:
    """Return whether a tensor is a weight matrix of a layer, which is stored in 8 bits."""
    return name.startswith("blocks.") and "norm" not in name and "bias" not in name


def stored_form(name: str, tensor: Tensor, *, int8: bool) -> dict[str, Tensor]:
    """Return the tensors to store for a tensor: in 8 bits with a scale a row, or in float16.

    Raises:
        ModelError: It holds numbers that are not finite, or too large for float16.
    """
    return quantise(name, tensor) if int8 else {name: halved(name, tensor)}


def halved(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor in float16 on the CPU, unchanged if it holds no floating-point numbers."""
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.detach().cpu().half().contiguous()
    if not halved.isfinite().all():
        raise ModelError(
            f"got numbers of up to {float(tensor.abs().max()):g} in {name}, expected finite numbers up to 65504, the "
            "largest of float16: choose another encoder, or train again with a lower learning rate"
        )
    return halved


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, float32.

    Raises:
        ModelError: The file is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: {FETCH_AGAIN}")
    try:
        return dequantise(load_file(path))
    except Exception as error:  # the loader has its own types of errors
        raise ModelError(f"{path} cannot be read ({error}): {FETCH_AGAIN}") from error


def check_tensors(path: Path, manifest: str, expected: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> None:
    """Check that a file has exactly the tensors that a model needs.

    Args:
        path: The file, for messages.
        manifest: Name of the manifest beside it, for messages.
        expected: Name -> shape.
        tensors: The content of the file.

    Raises:
        ModelError: It has others.
    """
    _check_names(path, manifest, present=set(tensors), expected=set(expected))
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ModelError(
                f"{path}: got {name} of {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}, expected "
                f"floating-point numbers {tuple(shape)}, as its {manifest} says: {FETCH_AGAIN}"
            )


def _check_names(path: Path, manifest: str, *, present: set[str], expected: set[str]) -> None:
    """Check that a file has exactly the expected tensors."""
    faults = []
    for fault, names in (("missing", expected - present), ("unknown", present - expected)):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            faults.append(f"{fault} {', '.join(sorted(names)[:5])}{more}")
    if faults:
        raise ModelError(f"{path}: got other weights than its {manifest} says: {'; '.join(faults)}: {FETCH_AGAIN}")
