"""Backend of the kernel in C: arithmetic in 8 bits or float32 on the CPU, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from threading import Lock
from typing import Self

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.backends.last_batch import EncodedTexts, LastBatch
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import ModelError
from elasticdenser.kernel.caller import KernelCaller
from elasticdenser.kernel.elastic_weights import ElasticWeights, read_trained_subnets
from elasticdenser.kernel.packed_encoder import PackedEncoder
from elasticdenser.kernel.packing import DTYPES, precision_of
from elasticdenser.kernel.paths import has_fast_path, kernel_import_error
from elasticdenser.kernel.structs import NORMALIZE, POOL_CLS, KernelModel
from elasticdenser.kernel.weights import Transformer, read_full_encoder
from elasticdenser.models.kinds import kind_of
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.manifest import check_layers, is_elastic, is_student
from elasticdenser.models.settings import INT8, EncoderSettings
from elasticdenser.models.weights_files import weights_file
from elasticdenser.subnet import LEVEL_0, Subnet


def can_run(location: ModelLocation, settings: EncoderSettings) -> bool:
    """Return whether the kernel has a fast path here, computes the encoder, and can read its weights."""
    if not has_fast_path() or kind_of(location.path, settings) != "bert":
        return False
    return is_student(location.path) or weights_file(location.path).suffix == ".safetensors"


class KernelBackend(KernelCaller):
    """Subnets of an encoder computed by the kernel; see `EncoderBackend`.

    A text's vector does not depend on the other texts of its batch, to the bit. Each call computes in its own thread
    alone. A subnet is packed when it is first used.

    Args:
        full: The full encoder; None for a student.
        elastic: Its trained subnets, if there are any.
        settings: How texts become vectors.
        precision: One of `PRECISIONS`.
        path: One of `kernel_paths`; None is the fastest.

    Raises:
        ModelError: There is no such precision or path here.
    """

    device_type = "cpu"

    def __init__(
        self,
        full: Transformer | None,
        elastic: ElasticWeights | None,
        settings: EncoderSettings,
        *,
        precision: str = "int8",
        path: str | None = None,
    ) -> None:
        super().__init__(precision, path)
        self.dtype = DTYPES[precision]
        self._options = (POOL_CLS if settings.pooling == "cls" else 0) | (NORMALIZE if settings.normalize else 0)
        self._packed = PackedEncoder(full, elastic, precision)
        self.full_subnet, self.subnets = self._packed.full_subnet, self._packed.subnets
        self._models: dict[Subnet, KernelModel] = {}
        self._kept: frozenset[Subnet] = frozenset()
        self._last = LastBatch()
        self._packing = Lock()

    @classmethod
    def load(
        cls,
        location: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = INT8,
        device: str = "auto",
        trained_subnets: bool = True,
    ) -> Self:
        """Load an encoder; see `load_backend`.

        Raises:
            ModelError: The kernel was not built here or has no fast path, the device is a GPU, or the files cannot be
                used.
        """
        if device_type(device) == "cuda":
            raise ModelError(f"got dtype {dtype!r} on {device}, expected a CPU: use float16, or --device cpu")
        if not can_run(location, settings):
            instead = "use float32" if dtype == INT8 else "install torch"
            raise ModelError(f"got dtype {dtype!r}, but {_obstacle()}, or {instead}")
        elastic, precision = None, precision_of(dtype)
        if is_student(location.path):
            return cls(None, read_trained_subnets(location.path, None), settings, precision=precision)
        full = read_full_encoder(location.path)
        if trained_subnets and is_elastic(location.path):
            elastic = read_trained_subnets(location.path, full)
            check_layers(location.path, elastic.shape, full.n_layers)
        return cls(full, elastic, settings, precision=precision)

    def forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim); see `EncoderBackend`.

        Raises:
            QueryError: A sequence is empty or too long, or a token does not exist.
            ModelError: The weights of a subnet that is used for the first time are damaged.
        """
        if subnet not in self._kept:
            self._last.clear()
            return self.run(self._model(subnet), sequences, self._options)
        encoded = self._with_states(sequences, subnet)
        self._last.put(subnet, sequences, encoded)
        return encoded.vectors

    def forward_tokens(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> EncodedTexts:
        """Return what `forward` does, with the states of all tokens; those of level 0 are its vectors of the tokens.

        After `keep_states`, the texts that the calling thread encoded last are not computed again.

        Raises:
            QueryError: As for `forward`.
        """
        return self._last.get(subnet, sequences) or self._with_states(sequences, subnet)

    def dims_of(self, subnet: Subnet) -> tuple[int, int]:
        """Return the numbers of a subnet's vector of a text, and of its state of a token."""
        return self._packed.dims_of(subnet)

    def keep_states(self, subnet: Subnet) -> None:
        """Let `forward` keep the last batch in each thread if a subnet encoded it, for `forward_tokens`.

        A batch of queries has some thousand tokens at most, and so takes a few megabytes. Level 0 is computed again in
        less time than its states would take to keep.
        """
        if subnet != LEVEL_0:
            with self._packing:
                self._kept |= {subnet}

    def one_thread_per_call(self) -> AbstractContextManager[None]:
        """Return an empty context: the kernel always computes in the calling thread alone."""
        return nullcontext()

    def _with_states(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> EncodedTexts:
        if subnet != LEVEL_0:
            return EncodedTexts(*self.run_with_states(self._model(subnet), sequences, self._options))
        vectors = self.run(self._model(subnet), sequences, self._options)  # first, as it checks the sequences
        return EncodedTexts(vectors, self._packed.static_vectors(list(chain.from_iterable(sequences))))

    def _model(self, subnet: Subnet) -> KernelModel:
        if (model := self._models.get(subnet)) is not None:
            return model
        with self._packing:
            if subnet not in self._models:
                self._models[subnet] = self._packed.model_of(subnet)
        return self._models[subnet]


def _obstacle() -> str:
    """Return the reason why `can_run` returned False, and the way out."""
    if error := kernel_import_error():
        return f"its kernel was not built here ({error}): install elasticdenser where there is a C compiler"
    if not has_fast_path():
        return "its kernel has no fast path for this processor: use another machine"
    return "the weights are not in the safetensors format: save them as model.safetensors"
