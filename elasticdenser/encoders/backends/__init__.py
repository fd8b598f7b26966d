"""Encoder backends: one protocol (`base`), one file a backend, and the registry of backends by dtype.

How far a text's vector depends on the other texts of its batch, for the backends there are:

| backend | dtype | device | alone and in any batch |
| --- | --- | --- | --- |
| `KernelBackend` | `int8` | CPU | the same to the bit, on every processor |
| `TorchBackend` | `float32` | CPU | equal within `2e-6` a component: to the bit on most processors, not promised |
| `TorchBackend` | `bfloat16` | CPU | equal within `1e-3`: oneDNN chooses its AMX kernels by the shape of the batch |
| `TorchBackend` | `float16`, `bfloat16`, `float32` | GPU | equal within `1e-3`: cuBLAS chooses its kernels by shape |

The bounds are for L2-normalised vectors.
"""

from __future__ import annotations

import importlib

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
"""Module and class of the backend that computes in a dtype. Modules are imported when they are needed: only `torch`
imports torch."""


def load_backend(
    location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str, trained_subnets: bool = True
) -> EncoderBackend:
    """Load the backend that computes in `dtype`.

    Args:
        location: Location of the encoder's files.
        settings: How its texts become vectors.
        dtype: `int8`, or one of `resolve_dtype`.
        device: One of `resolve_device`.
        trained_subnets: Whether to load the trained subnets too, or the full encoder alone.

    Raises:
        ModelError: The files cannot be used, or there is no such dtype or device here.
    """
    if dtype not in BACKENDS:
        raise ModelError(f"got dtype {dtype!r} on {device}, expected one of {', '.join(BACKENDS)}")
    module, _, name = BACKENDS[dtype].partition(".")
    backend: type[EncoderBackend] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return backend.load(location, settings, dtype=dtype, device=device, trained_subnets=trained_subnets)
