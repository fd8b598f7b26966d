"""The sizes of an encoder computed by torch: the reference, and the one for GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from threading import Lock

import torch
import torch.nn.functional as F

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.devices import resolve_device, resolve_dtype
from elasticdenser.models.bert import Bert
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.levels import Levels
from elasticdenser.models.locate import ModelLocation, is_elastic
from elasticdenser.models.manifest import check_use
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import Subnet


class TorchBackend:
    """See `EncoderBackend`; the arguments are those of `load_backend`."""

    def __init__(
        self, found: ModelLocation, settings: EncoderSettings, *, dtype: str, device: str, smaller: bool = True
    ) -> None:
        at = resolve_device(device)
        arithmetic = resolve_dtype(dtype, at)
        self._settings = settings
        full = Bert.load(found.path, arithmetic, at)
        elastic = load_elastic(found.path).model if smaller and is_elastic(found.path) else None
        if elastic is not None:
            check_use(found.path, elastic.shape, full.n_layers, settings.pooling)
        self.levels = Levels(full, elastic)
        self.full_subnet, self.subnets = self.levels.full_subnet, self.levels.subnets
        self.dtype, self.device_type = str(arithmetic).removeprefix("torch."), at.type

    def encode(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """See `EncoderBackend`."""
        vectors = self.levels.encode(sequences, self._settings.pooling, subnet)
        if self._settings.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return vectors.numpy()

    def one_core_a_call(self) -> AbstractContextManager[None]:
        """See `EncoderBackend`; afterwards torch is set as it was."""
        return _one_torch_thread


class _OneTorchThread(AbstractContextManager[None]):
    """One thread for torch, which has one setting for the process; the last one to leave puts back what it was."""

    def __init__(self) -> None:
        self._lock, self._n_users, self._before = Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._n_users += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._n_users -= 1
            if not self._n_users:
                torch.set_num_threads(self._before)


_one_torch_thread = _OneTorchThread()
