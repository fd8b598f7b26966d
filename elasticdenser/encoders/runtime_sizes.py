"""The sizes of an encoder computed by the runtime: without torch, in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

from elasticdenser.encoders.sentence import Vectors
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import FoundModel, weights_file
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.runtime.levels import RuntimeLevels, available_paths
from elasticdenser.subnet import Subnet

INT8 = "int8"


def can_run(found: FoundModel) -> bool:
    """Say whether the runtime's kernel was built, and reads such weights."""
    return len(available_paths()) > 1 and weights_file(found.path).suffix == ".safetensors"


class RuntimeSizes:
    """See `Sizes`; the arguments are those of `ElasticQueryEncoder`.

    Raises:
        ModelError: The kernel was not built here, or the files cannot be used.
    """

    def __init__(self, found: FoundModel, settings: EncoderSettings) -> None:
        if not can_run(found):
            raise ModelError(
                "got dtype 'int8', but its kernel was not built here, or the weights are no model.safetensors: install "
                "elasticdenser where there is a C compiler, or use float32"
            )
        self.levels = RuntimeLevels.load(found.path)
        self._settings = settings
        self.full_size, self.sizes = self.levels.full_size, self.levels.sizes
        self.dtype, self.device_type = INT8, "cpu"

    def encode(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """See `Sizes`."""
        settings = self._settings
        return self.levels.encode(sequences, settings.pooling, subnet, normalize=settings.normalize)
