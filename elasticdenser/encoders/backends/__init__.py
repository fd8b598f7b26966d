"""Encoder backends: one protocol (`base`), one file a backend, and the registry of backends by dtype.

Largest difference of a component between a text's vector alone and in any batch, for L2-normalised vectors:

| backend | dtype | device | promised | seen |
| --- | --- | --- | --- | --- |
| `KernelBackend` | `int8` | CPU | 0 | 0 on all paths of the kernel, with AMX too |
| `TorchBackend` | `float32` | CPU | `2e-6` | 0 with AVX2 and AVX-512, `3e-7` with SSE4.1 |
| `TorchBackend` | `bfloat16` | CPU | `1e-3` | 0 with AVX-512, `4e-7` with SSE4.1, `5e-4` with AMX |
| `TorchBackend` | any | GPU | nothing | not measured |

oneDNN and cuBLAS choose the kernel of a matrix product by its shape, and so by the batch; the kernels of AMX add up in
different orders.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec

from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import INT8, EncoderSettings

BACKENDS = {
    INT8: "kernel.KernelBackend",
    "auto": "torch.TorchBackend",
    "float32": "torch.TorchBackend",
    "bfloat16": "torch.TorchBackend",
    "float16": "torch.TorchBackend",
}
"""Module and class of the backend that computes in a dtype. A module is imported when it is needed, so that the kernel
runs without importing torch."""


def check_dtype(dtype: str, device: str = "cpu") -> None:
    """Check, before any work, that a backend computes in `dtype` and that what it needs is installed.

    Raises:
        ModelError: There is no such dtype, or torch is not installed.
    """
    if dtype not in BACKENDS:
        raise ModelError(f"got dtype {dtype!r} on {device}, expected one of {', '.join(BACKENDS)}")
    if BACKENDS[dtype].startswith("torch.") and find_spec("torch") is None:
        raise ModelError(
            f"got dtype {dtype!r}, which torch computes, and torch is not installed: use int8 (--precision int8), or "
            "pip install torch"
        )


def load_backend(
    location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str, trained_subnets: bool = True
) -> EncoderBackend:
    """Load the backend that computes in `dtype`.

    Args:
        location: Location of the encoder's files.
        settings: How its texts become vectors.
        dtype: `int8`, or a name that `resolve_dtype` accepts.
        device: A name that `resolve_device` accepts.
        trained_subnets: Whether to load the trained subnets too, or the full encoder alone.

    Raises:
        ModelError: The files cannot be used, or there is no such dtype or device here.
    """
    check_dtype(dtype, device)
    module, _, name = BACKENDS[dtype].partition(".")
    backend: type[EncoderBackend] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return backend.load(location, settings, dtype=dtype, device=device, trained_subnets=trained_subnets)
