"""Ranker backends: one protocol (`base`), one file a backend, and the registry of backends by dtype."""

from __future__ import annotations

import importlib
from pathlib import Path

from elasticdenser.encoders.backends import check_dtype, uses_kernel
from elasticdenser.models.settings import INT8
from elasticdenser.rankers.backends.base import RankerBackend

RANKER_BACKENDS = {
    INT8: "kernel.KernelRankerBackend",
    "auto": "torch.TorchRankerBackend",
    "float32": "torch.TorchRankerBackend",
    "bfloat16": "torch.TorchRankerBackend",
    "float16": "torch.TorchRankerBackend",
}
"""Module and class of the backend that computes in a dtype. A module is imported when it is needed."""


def load_ranker_backend(folder: Path, *, dtype: str, device: str) -> RankerBackend:
    """Load the backend that computes in `dtype`.

    Args:
        folder: Folder of the ranker.
        dtype: A key of `RANKER_BACKENDS`.
        device: A name that `resolve_device` accepts.

    Raises:
        ModelError: The files cannot be used, or there is no such dtype or device here.
        MissingExtraError: Torch computes in this dtype, and is not installed.
    """
    check_dtype(dtype, device)
    module, _, name = RANKER_BACKENDS[INT8 if uses_kernel(dtype, device) else dtype].partition(".")
    backend: type[RankerBackend] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return backend.load(folder, dtype=dtype, device=device)
