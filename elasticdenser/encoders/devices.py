"""What encoders compute on, and in which arithmetic."""

from __future__ import annotations

import torch

from elasticdenser.errors import ModelError


def resolve_device(device: str) -> torch.device:
    """Return the device that a name means: `cpu`, `cuda`, `cuda:N`, or `auto`, a GPU where there is one.

    Raises:
        ModelError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ModelError(f"got device {device!r}; expected auto, cpu, cuda or cuda:N") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"got device {device!r}, but torch sees no GPU here: use --device cpu")
    return resolved


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the arithmetic that a name means on a device; see `SentenceEncoder`.

    Raises:
        ModelError: The device does not have it.
    """
    if dtype == "auto":
        if device.type != "cpu":
            return torch.float16
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
        return torch.bfloat16 if native else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known or (dtype == "float16" and device.type == "cpu"):
        raise ModelError(f"got dtype {dtype!r} on {device.type}; expected auto, float32, bfloat16, or float16 on a GPU")
    return known[dtype]
