"""Backend of torch: float arithmetic on the CPU or a GPU. It is the reference for the other backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Self

import torch

from elasticdenser.arrays import Scores
from elasticdenser.encoders.devices import resolve_device, resolve_dtype
from elasticdenser.models.ranker_files import load_ranker
from elasticdenser.models.ranker_manifest import RankerManifest
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.slicing import SlicedSubnet, SubnetSlicer
from elasticdenser.subnet import Subnet


class TorchRankerBackend:
    """Subnets of a ranker computed by torch; see `RankerBackend`. A subnet is cut out when it is first used.

    Args:
        model: The trained weights.
        manifest: Its manifest.
        dtype: Arithmetic of the matrix products.
        device: Where to compute.
    """

    def __init__(
        self, model: ElasticScorer, manifest: RankerManifest, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.manifest = manifest
        self.dtype, self.device_type = str(dtype).removeprefix("torch."), device.type
        with torch.inference_mode():
            # Ids of the second part of a pair are raised by the size of the vocabulary.
            tokens = torch.cat([model.tokens, model.tokens + model.segment]).to(device)
        self._slicer = SubnetSlicer(model, dtype, device, tokens=tokens)
        self._sliced: dict[Subnet, SlicedSubnet] = {}
        self._slicing = Lock()

    @classmethod
    def load(cls, folder: Path, *, dtype: str = "auto", device: str = "auto") -> Self:
        """Load a ranker; see `load_ranker_backend`.

        Raises:
            ModelError: The files cannot be used, or there is no such dtype or device here.
        """
        resolved = resolve_device(device)
        return cls(*load_ranker(folder), resolve_dtype(dtype, resolved), resolved)

    @torch.inference_mode()
    def forward(self, pairs: Sequence[Sequence[int]], subnet: Subnet) -> Scores:
        """Return float32, (n_pairs,); see `RankerBackend`."""
        with self._slicing:
            if subnet not in self._sliced:
                self._sliced[subnet] = self._slicer.slice(subnet)
        sliced = self._sliced[subnet]
        pooled = sliced.body.pooled_vectors(pairs, self.manifest.shape.pooling)
        scores: Scores = sliced.exit(pooled)[:, 0].float().numpy()
        return scores
