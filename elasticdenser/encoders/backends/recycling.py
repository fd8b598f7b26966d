"""Backend of torch that computes the first layers of the full encoder once for each text, and caches their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from elasticdenser.arrays import Floats
from elasticdenser.encoders.backends.torch import TorchBackend
from elasticdenser.encoders.devices import resolve_device, resolve_dtype
from elasticdenser.encoders.recycling import RecyclingSettings
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.activation_keys import source_of_bert
from elasticdenser.models.bert import Bert, read_model
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import Subnet


class RecyclingBackend(TorchBackend):
    """Full encoder whose first layers are recycled (Saad-Falcon et al. 2023).

    Args:
        full: The full encoder.
        settings: How texts become vectors.
        cache: The cache of the states after its first layers.
    """

    def __init__(self, full: Bert, settings: EncoderSettings, cache: ActivationCache) -> None:
        super().__init__(full, None, settings)
        self._bert, self._pooling = full, settings.pooling
        self.cache = cache

    @classmethod
    def recycle(
        cls,
        location: ModelLocation,
        settings: EncoderSettings,
        recycling: RecyclingSettings,
        *,
        dtype: str,
        device: str,
    ) -> Self:
        """Load an encoder; see `load_backend`.

        Raises:
            ModelError: The files cannot be used, there is no such dtype or device here, or no such layers.
            BadInputError: The cache holds states of another model.
            BuildError: The disk refuses.
        """
        layers = recycling.layers_of(location, settings, dtype=dtype, device=device)
        resolved_device = resolve_device(device)
        resolved_dtype = resolve_dtype(dtype, resolved_device)
        config, weights = read_model(location.path)
        full = Bert.from_weights(config, weights, resolved_dtype, resolved_device)
        source = source_of_bert(config, weights, layers, resolved_dtype)
        cache = ActivationCache(recycling.folder, source, dtype=recycling.dtype, max_bytes=recycling.max_bytes)
        return cls(full, settings, cache)

    def _vectors(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Tensor:
        """Return float32, (n_sequences, dim), not normalised, on the CPU."""
        layers = self.cache.source.layer

        def compute(numbers: list[int]) -> Floats:
            computed: Floats = self._bert.states_after([sequences[number] for number in numbers], layers).numpy()
            return computed

        states = torch.from_numpy(self.cache.get_or_compute(sequences, compute))
        return self._bert.pooled_from_states(sequences, states, layers, self._pooling)
