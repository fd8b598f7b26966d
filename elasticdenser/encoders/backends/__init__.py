"""Encoder backends: one protocol (`base`), one file a backend, and the registry of backends.

BERT and its siblings have one for each dtype, the other kinds of encoders (`elasticdenser.models.kinds`) have one each.

Largest difference of a component between a text's vector alone and in any batch, for L2-normalised vectors:

| backend | dtype | device | promised | seen |
| --- | --- | --- | --- | --- |
| `KernelBackend` | `int8`, `float32` | CPU | 0 | 0 with AVX-512, AVX2 and portable C; NEON and AMX in emulation |
| `TorchBackend` | `float32` | CPU | `2e-6` | 0 with AVX2 and AVX-512, `3e-7` with SSE4.1 |
| `TorchBackend` | `bfloat16` | CPU | `1e-3` | 0 with AVX-512, `4e-7` with SSE4.1, `5e-4` with AMX |
| `TransformersBackend` | `float32` | CPU | `1e-5` | `8e-8` with AVX2 (all-mpnet-base-v2, which has our own code now) |
| `StaticBackend` | `float32` | any | 0 | 0 |
| `PQRNNBackend` | `float32` | any | `1e-5` | `1e-7` with AVX-512 |
| `TorchBackend`, `TransformersBackend` | any other | any | nothing | not measured |

`float32` is the kernel's where torch is not installed. oneDNN and cuBLAS choose the kernel of a matrix product by its
shape, and so by the batch; the kernels of AMX add up in different orders. transformers also pads a batch to its longest
text.
"""

from __future__ import annotations

import importlib

from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import MissingExtraError, ModelError
from elasticdenser.kernel.paths import has_fast_path, kernel_obstacle
from elasticdenser.lazy_imports import is_installed
from elasticdenser.models.architectures import ARCHITECTURES
from elasticdenser.models.kinds import check_computable, kind_of
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.model_files import read_config
from elasticdenser.models.poolings import OWN_POOLINGS
from elasticdenser.models.settings import INT8, EncoderSettings

BACKENDS = {
    INT8: "kernel.KernelBackend",
    "auto": "torch.TorchBackend",
    "float32": "torch.TorchBackend",
    "bfloat16": "torch.TorchBackend",
    "float16": "torch.TorchBackend",
}
"""Module and class of the backend that computes BERT and its siblings in a dtype; see `uses_kernel` for float32. A
module is imported when it is needed, so that the kernel runs without importing torch."""

OTHER_BACKENDS = {
    "transformers": "transformers.TransformersBackend",
    "static": "static.StaticBackend",
    "pqrnn": "pqrnn.PQRNNBackend",
}
"""Module and class of the backend that computes another kind of encoder."""

_OTHER_DTYPES = {
    "transformers": ("auto", "float32", "bfloat16", "float16"),
    "static": ("auto", "float32"),
    "pqrnn": ("auto", "float32"),
}


def check_encoder(location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str) -> str:
    """Check, before any work, that a backend computes an encoder in `dtype`, and that what it needs is installed.

    Returns:
        Module and class of the backend, as in `BACKENDS`.

    Raises:
        ModelError: No backend computes the encoder, or not in this dtype; or it brings code that is not allowed.
        MissingExtraError: A package is not installed.
    """
    check_computable(location.path, location.name, trust_remote_code=location.trust_remote_code)
    kind = kind_of(location.path, settings)
    if kind == "bert" or (dtype in BACKENDS and dtype not in (*_OTHER_DTYPES["transformers"], INT8)):
        check_dtype(dtype, device)
        dtype = dtype_without_torch(dtype, device)
        return BACKENDS[INT8 if uses_kernel(dtype, device) else dtype]
    if dtype not in _OTHER_DTYPES[kind]:
        raise ModelError(f"got dtype {dtype!r} for {_description(location, settings, kind)}")
    if kind == "transformers" and not is_installed("torch", "transformers"):
        raise MissingExtraError(f"{location.name}, a model of type {_model_type(location)!r},", "transformers")
    return OTHER_BACKENDS[kind]


def _description(location: ModelLocation, settings: EncoderSettings, kind: str) -> str:
    """Return what an encoder is, which dtypes compute it, and which encoders have 8 bits."""
    expected = f"expected {', '.join(_OTHER_DTYPES[kind])}"
    if kind == "static":
        return f"{location.name}, a table of token vectors, which has no products of matrices: {expected}"
    if kind == "pqrnn":
        return f"{location.name}, a pQRNN, whose weights are 8 bits in its file and float32 in memory: {expected}"
    return (
        f"{location.name}, a model of type {_model_type(location)!r} with {settings.pooling} pooling, which only "
        f"transformers computes: {expected}; in 8 bits the kernel computes {', '.join(ARCHITECTURES)} with "
        f"{' or '.join(OWN_POOLINGS)} pooling and no Dense module"
    )


def _model_type(location: ModelLocation) -> object:
    return read_config(location.path).get("model_type")


def check_dtype(dtype: str, device: str = "cpu") -> None:
    """Check, before any work, that a backend computes BERT in `dtype` and that what it needs is installed.

    Raises:
        ModelError: There is no such dtype.
        MissingExtraError: Torch computes in it, and is not installed.
    """
    if dtype not in BACKENDS:
        raise ModelError(f"got dtype {dtype!r} on {device}, expected one of {', '.join(BACKENDS)}")
    dtype = dtype_without_torch(dtype, device)
    if uses_kernel(dtype, device) or is_installed("torch"):
        return
    if device_type(device) == "cuda":
        raise MissingExtraError(f"the device {device}", "train", instead="use --device cpu")
    if not has_fast_path():
        raise MissingExtraError(f"encoding without our kernel ({kernel_obstacle()})", "train")
    raise MissingExtraError(f"the precision {dtype}", "train", instead="use --precision int8 or fp32")


def dtype_without_torch(dtype: str, device: str = "auto") -> str:
    """Return `int8` for `auto` where torch is not installed, the kernel can compute, and no GPU is asked for."""
    if dtype == "auto" and device_type(device) != "cuda" and has_fast_path() and not is_installed("torch"):
        return INT8
    return dtype


def uses_kernel(dtype: str, device: str = "auto") -> bool:
    """Return whether the kernel in C computes in `dtype`: in int8, and in float32 where torch is not installed."""
    without_torch = device_type(device) != "cuda" and has_fast_path() and not is_installed("torch")
    return dtype == INT8 or (dtype == "float32" and without_torch)


def load_backend(
    location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str, trained_subnets: bool = True
) -> EncoderBackend:
    """Load the backend that computes an encoder in `dtype`.

    Args:
        location: Location of the encoder's files.
        settings: How its texts become vectors.
        dtype: `int8`, or a name that `resolve_dtype` accepts; `auto` is `int8` for BERT where torch is not installed.
        device: A name that `resolve_device` accepts.
        trained_subnets: Whether to load the trained subnets too, or the full encoder alone.

    Raises:
        ModelError: The files cannot be used, or there is no such dtype or device here.
        MissingExtraError: A package that computes the encoder is not installed.
    """
    module, _, name = check_encoder(location, settings, dtype=dtype, device=device).partition(".")
    if name == "KernelBackend":
        dtype = dtype_without_torch(dtype, device)
    backend: type[EncoderBackend] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return backend.load(location, settings, dtype=dtype, device=device, trained_subnets=trained_subnets)
