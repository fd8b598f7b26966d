"""The sizes of an encoder computed by torch: the reference, and the one for GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from elasticdenser.encoders.devices import resolve_device, resolve_dtype
from elasticdenser.encoders.sentence import Vectors
from elasticdenser.errors import ModelError
from elasticdenser.models.bert import Bert
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.levels import Levels
from elasticdenser.models.locate import FoundModel, is_elastic
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import Subnet


class TorchSizes:
    """See `Sizes`; the arguments are those of `load_sizes`."""

    def __init__(
        self, found: FoundModel, settings: EncoderSettings, *, dtype: str, device: str, smaller: bool = True
    ) -> None:
        at = resolve_device(device)
        arithmetic = resolve_dtype(dtype, at)
        self._settings = settings
        full = Bert.load(found.path, arithmetic, at)
        elastic = load_elastic(found.path).model if smaller and is_elastic(found.path) else None
        if elastic is not None and (elastic.shape.n_layers, elastic.shape.pooling) != (full.n_layers, settings.pooling):
            raise ModelError(
                f"{found.path}: got sizes of {elastic.shape.n_layers} layers with {elastic.shape.pooling} pooling; "
                f"expected {full.n_layers} with {settings.pooling}, as its full encoder is used: train them for that"
            )
        self.levels = Levels(full, elastic)
        self.full_size, self.sizes = self.levels.full_size, self.levels.sizes
        self.dtype, self.device_type = str(arithmetic).removeprefix("torch."), at.type

    def encode(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """See `Sizes`."""
        vectors = self.levels.encode(sequences, self._settings.pooling, subnet)
        if self._settings.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return vectors.numpy()

    @contextmanager
    def one_core_a_call(self) -> Iterator[None]:
        """See `Sizes`; afterwards torch is set as it was."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
