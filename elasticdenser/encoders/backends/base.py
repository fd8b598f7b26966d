"""What computes an encoder's vectors: torch or, without it, our own kernel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.backends.kernel import KernelBackend
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import INT8, EncoderSettings
from elasticdenser.subnet import Subnet


class EncoderBackend(Protocol):
    """All sizes of an encoder, safe to call from several threads."""

    full_subnet: Subnet
    subnets: list[Subnet]
    dtype: str
    device_type: str

    def encode(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim), normalised as the encoder's settings say.

        Args:
            sequences: Token ids with special tokens; those of about equal length together.
            subnet: One of `sizes`.
        """

    def one_core_a_call(self) -> AbstractContextManager[None]:
        """Let every call compute in its own thread alone, until the end."""


def load_backend(
    found: ModelLocation, settings: EncoderSettings, dtype: str, device: str, *, smaller: bool = True
) -> EncoderBackend:
    """Load what computes in `dtype` on `device`; torch is imported only where it is what computes.

    Args:
        found: As for `SentenceEncoder`.
        settings: As for `SentenceEncoder`.
        dtype: `int8`, or what `resolve_dtype` takes.
        device: What `resolve_device` takes.
        smaller: Whether to have the trained sizes too, or the full size alone.

    Raises:
        ModelError: The files cannot be used, or dtype or device do not exist here.
    """
    if dtype == INT8:
        if device_type(device) == "cuda":
            raise ModelError(f"got dtype {INT8!r} on {device}; expected it on cpu, or float16 there")
        return KernelBackend(found, settings, smaller=smaller)
    from elasticdenser.encoders.backends.torch import TorchBackend

    return TorchBackend(found, settings, dtype=dtype, device=device, smaller=smaller)
