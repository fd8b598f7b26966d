"""Devices and dtypes of the encoders, by the names that users give them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elasticdenser.cpus import cpu_flags
from elasticdenser.errors import ModelError

if TYPE_CHECKING:
    import torch

_OVERFLOWS_FLOAT16 = ("gemma", "t5")
"""Parts of the types of models whose activations exceed 65504, the largest number of float16."""


def device_type(device: str) -> str:
    """Return the type of a device name: `cpu`, `cuda` or `auto`; does not import torch.

    Raises:
        ModelError: `resolve_device` does not accept the name.
    """
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu(:0)?|cuda(:\d{1,4})?", device):
        raise ModelError(f"got device {device!r}, expected auto, cpu, cuda or cuda:N")
    return device.partition(":")[0]


def resolve_device(device: str) -> torch.device:
    """Return the device of a name: `cpu`, `cuda`, `cuda:N`, or `auto`, which is a GPU if there is one.

    Raises:
        ModelError: There is no such device here.
    """
    import torch

    kind = device_type(device)
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ModelError(f"got device {device!r}, but torch sees no GPU here: use --device cpu")
    resolved, n_devices = torch.device(device), torch.cuda.device_count()
    if resolved.index is not None and resolved.index >= n_devices:
        raise ModelError(f"got device {device!r}, expected cuda, or cuda:0 to cuda:{n_devices - 1}, the last one here")
    return resolved


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the torch dtype of a name: `float32`, `bfloat16`, `float16` (on a GPU), or `auto`.

    `auto` is float16 on a GPU, bfloat16 on a CPU that has it in hardware, else float32.

    Raises:
        ModelError: The device does not have it.
    """
    import torch

    if dtype == "auto":
        if device.type != "cpu":
            return torch.float16
        return torch.bfloat16 if _has_bfloat16() else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known or (dtype == "float16" and device.type == "cpu"):
        raise ModelError(f"got dtype {dtype!r} on {device.type}, expected auto, float32, bfloat16, or float16 on a GPU")
    return known[dtype]


def resolve_dtype_of(config: Mapping[str, Any], dtype: str, device: torch.device) -> torch.dtype:
    """Return the torch dtype of a name, as `resolve_dtype` does, for a model that transformers computes.

    Its `auto` is half precision on a GPU: bfloat16 if the model was trained in it or exceeds the range of float16. On a
    CPU it is float32: unlike in our own BERT, the residual stream has the dtype of the products, so that vectors in
    bfloat16 agree less.

    Args:
        config: Content of the model's `config.json`.
        dtype: The name.
        device: The device.

    Raises:
        ModelError: The device does not have it.
    """
    import torch

    if dtype != "auto":
        return resolve_dtype(dtype, device)
    if device.type == "cpu":
        return torch.float32
    trained_in, kind = config.get("dtype") or config.get("torch_dtype"), str(config.get("model_type"))
    needs_range = trained_in == "bfloat16" or any(part in kind for part in _OVERFLOWS_FLOAT16)
    return torch.bfloat16 if needs_range else torch.float16


def _has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware, and oneDNN uses it."""
    import torch

    capabilities_of = getattr(torch.cpu, "get_capabilities", None)  # absent in older torch; Linux has the same names
    capabilities = capabilities_of() if capabilities_of is not None else dict.fromkeys(cpu_flags(), True)
    in_hardware = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return in_hardware and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
