"""Protocol of the encoder backends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from elasticdenser.arrays import Vectors
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import Subnet


class EncoderBackend(Protocol):
    """Computation of an encoder's vectors at every subnet; safe to call from several threads.

    Attributes:
        full_subnet: The subnet that is the full encoder.
        subnets: All subnets, from the full encoder down to `level0`, if there is one.
        dtype: Arithmetic of the matrix products, such as `float32`.
        device_type: `cpu` or `cuda`.
    """

    full_subnet: Subnet
    subnets: list[Subnet]
    dtype: str
    device_type: str

    @classmethod
    def load(
        cls, location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str, trained_subnets: bool
    ) -> Self:
        """Load an encoder; see `elasticdenser.encoders.backends.load_backend`."""

    def forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim), L2-normalised if the encoder's settings say so.

        `dim` are all dimensions of the encoder; where the settings keep only the first ones, the encoder cuts them.

        Args:
            sequences: Token ids with special tokens; sequences of similar length should stand together.
            subnet: One of `subnets`.
        """

    def one_thread_per_call(self) -> AbstractContextManager[None]:
        """Return a context in which `forward` computes in the calling thread alone, without starting others."""
