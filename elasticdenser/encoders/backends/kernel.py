"""The sizes of an encoder computed by the runtime: without torch, in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from elasticdenser.arrays import Vectors
from elasticdenser.errors import ModelError
from elasticdenser.kernel.kernel_sizes import has_fast_path, kernel_fault
from elasticdenser.kernel.levels import RuntimeLevels
from elasticdenser.kernel.weights import read_full
from elasticdenser.models.locate import ModelLocation, weights_file
from elasticdenser.models.manifest import check_use
from elasticdenser.models.settings import INT8, EncoderSettings
from elasticdenser.subnet import Subnet


def can_run(found: ModelLocation) -> bool:
    """Say whether the runtime's kernel is fast here, and reads such weights."""
    return has_fast_path() and weights_file(found.path).suffix == ".safetensors"


class KernelBackend:
    """See `EncoderBackend`; the arguments are those of `load_backend`.

    Raises:
        ModelError: The kernel was not built here, or not for this processor, or the files cannot be used.
    """

    def __init__(self, found: ModelLocation, settings: EncoderSettings, *, smaller: bool = True) -> None:
        if not can_run(found):
            raise ModelError(f"got dtype 'int8', but {_obstacle()}, or use float32")
        self.levels = RuntimeLevels.load(found.path) if smaller else RuntimeLevels(read_full(found.path))
        if self.levels.shape is not None:
            check_use(found.path, self.levels.shape, self.levels.full_subnet.depth, settings.pooling)
        self._settings = settings
        self.full_subnet, self.subnets = self.levels.full_subnet, self.levels.subnets
        self.dtype, self.device_type = INT8, "cpu"

    def encode(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """See `EncoderBackend`."""
        settings = self._settings
        return self.levels.encode(sequences, settings.pooling, subnet, normalize=settings.normalize)

    def one_core_a_call(self) -> AbstractContextManager[None]:
        """See `EncoderBackend`: the kernel never does otherwise."""
        return nullcontext()


def _obstacle() -> str:
    """Return what `can_run` lacks, and what to do about it."""
    if kernel_fault():
        return f"its kernel was not built here ({kernel_fault()}): install elasticdenser where there is a C compiler"
    if not has_fast_path():
        return "its kernel is not made for this processor: use another"
    return "the weights are no model.safetensors: save them as that"
