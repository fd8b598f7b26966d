"""The sizes of an encoder computed by the runtime: without torch, in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from elasticdenser.encoders.sentence import Vectors
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import FoundModel, weights_file
from elasticdenser.models.settings import INT8, EncoderSettings
from elasticdenser.runtime.levels import RuntimeLevels, available_paths
from elasticdenser.runtime.weights import read_full
from elasticdenser.subnet import Subnet


def can_run(found: FoundModel) -> bool:
    """Say whether the runtime's kernel was built, and reads such weights."""
    return len(available_paths()) > 1 and weights_file(found.path).suffix == ".safetensors"


class RuntimeSizes:
    """See `Sizes`; the arguments are those of `load_sizes`.

    Raises:
        ModelError: The kernel was not built here, or the files cannot be used.
    """

    def __init__(self, found: FoundModel, settings: EncoderSettings, *, smaller: bool = True) -> None:
        if not can_run(found):
            raise ModelError(
                "got dtype 'int8', but its kernel was not built here, or the weights are no model.safetensors: install "
                "elasticdenser where there is a C compiler, or use float32"
            )
        self.levels = RuntimeLevels.load(found.path) if smaller else RuntimeLevels(read_full(found.path))
        self._settings = settings
        self.full_size, self.sizes = self.levels.full_size, self.levels.sizes
        self.dtype, self.device_type = INT8, "cpu"

    def encode(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """See `Sizes`."""
        settings = self._settings
        return self.levels.encode(sequences, settings.pooling, subnet, normalize=settings.normalize)

    def one_core_a_call(self) -> AbstractContextManager[None]:
        """See `Sizes`: the kernel never does otherwise."""
        return nullcontext()
