"""Settings of an encoder whose first layers are recycled: their states are cached on disk. It does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elasticdenser.encoders.backends import dtype_without_torch, uses_kernel
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.activation_files import STATE_DTYPES
from elasticdenser.models.architectures import count_of
from elasticdenser.models.kinds import kind_of
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.model_files import read_config
from elasticdenser.models.settings import EncoderSettings


@dataclass(frozen=True, kw_only=True)
class RecyclingSettings:
    """Settings of recycled layers (Saad-Falcon et al. 2023); see `elasticdenser.models.activation_cache`.

    Args:
        folder: Folder of the cache.
        layers: Number of first layers whose states are cached; 0 is half of the encoder's, as in the paper.
        dtype: How states are stored: `float16`, `float32`, or `int8`.
        max_bytes: Most bytes of the cache; further states are computed each time.

    Raises:
        QueryError: A setting is out of range.
    """

    folder: Path
    layers: int = 0
    dtype: str = "float16"
    max_bytes: int = 10_000_000_000

    def __post_init__(self) -> None:
        if self.layers < 0 or self.max_bytes < 0:
            raise QueryError(
                f"got {self.layers} recycled layers and {self.max_bytes} bytes, expected numbers from 0: leave them out"
            )
        if self.dtype not in STATE_DTYPES:
            raise QueryError(f"got states in {self.dtype!r}, expected one of {', '.join(STATE_DTYPES)}")

    def layers_of(self, location: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str) -> int:
        """Return the number of recycled layers of an encoder, before it is loaded.

        Raises:
            ModelError: It has no layers that can be recycled, or the kernel computes it.
        """
        if kind_of(location.path, settings) != "bert":
            raise ModelError(
                f"got recycled layers of {location.name}, expected BERT or a sibling with mean or cls pooling: encode "
                "without recycling"
            )
        if uses_kernel(dtype_without_torch(dtype, device), device):
            raise ModelError(
                "got recycled layers in 8 bits or without torch, expected float32, bfloat16 or float16 by torch: use "
                "--precision fp32, or encode without recycling"
            )
        depth = count_of(read_config(location.path), "num_hidden_layers", "n_layers")
        layers = self.layers or depth // 2
        if not 0 < layers < depth:
            raise ModelError(f"got {layers} recycled layers of a model of {depth}, expected 1 to {depth - 1}")
        return layers
