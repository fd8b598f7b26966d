"""Backend of the kernel in C: arithmetic in 8 bits or float32 on the CPU, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Self

from elasticdenser.arrays import Scores
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import ModelError
from elasticdenser.kernel.caller import KernelCaller
from elasticdenser.kernel.elastic_weights import ElasticWeights, read_ranker_weights
from elasticdenser.kernel.packed_encoder import PackedSubnets
from elasticdenser.kernel.packing import DTYPES, precision_of
from elasticdenser.kernel.paths import has_fast_path
from elasticdenser.kernel.structs import POOL_CLS, KernelModel
from elasticdenser.models.ranker_manifest import RankerManifest
from elasticdenser.models.settings import INT8
from elasticdenser.subnet import Subnet


class KernelRankerBackend(KernelCaller):
    """Subnets of a ranker computed by the kernel; see `RankerBackend`.

    The score of a pair does not depend on the other pairs, to the bit. Each call computes in its own thread alone.

    Args:
        weights: The trained weights.
        manifest: Their manifest.
        precision: One of `PRECISIONS`.
        path: One of `kernel_paths`; None is the fastest.

    Raises:
        ModelError: There is no such precision or path here.
    """

    device_type = "cpu"

    def __init__(
        self, weights: ElasticWeights, manifest: RankerManifest, *, precision: str = "int8", path: str | None = None
    ) -> None:
        super().__init__(precision, path)
        self.dtype, self.manifest = DTYPES[precision], manifest
        self._options = POOL_CLS if manifest.shape.pooling == "cls" else 0
        self._packed = PackedSubnets(weights, precision)
        self._models: dict[Subnet, KernelModel] = {}
        self._packing = Lock()

    @classmethod
    def load(cls, folder: Path, *, dtype: str = INT8, device: str = "auto") -> Self:
        """Load a ranker; see `load_ranker_backend`.

        Raises:
            ModelError: The kernel was not built here or has no fast path, the device is a GPU, or the files cannot be
                used.
        """
        if device_type(device) == "cuda":
            raise ModelError(f"got dtype {dtype!r} on {device}, expected a CPU: use float16, or the device cpu")
        if not has_fast_path():
            raise ModelError(
                f"got dtype {dtype!r}, but the kernel has no fast path here: install torch and use float32"
            )
        return cls(*read_ranker_weights(folder), precision=precision_of(dtype))

    def forward(self, pairs: Sequence[Sequence[int]], subnet: Subnet) -> Scores:
        """Return float32, (n_pairs,); see `RankerBackend`."""
        with self._packing:
            if subnet not in self._models:
                self._models[subnet] = self._packed.model_of(subnet)
        return self.run(self._models[subnet], pairs, self._options)[:, 0]
