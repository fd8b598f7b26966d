"""Backend of torch: float arithmetic on the CPU or a GPU. It is the reference for the other backends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from threading import Lock
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.backends.torch_threads import one_torch_thread
from elasticdenser.encoders.devices import resolve_device, resolve_dtype
from elasticdenser.errors import ModelError
from elasticdenser.models.bert import Bert
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.manifest import check_layers, is_elastic, is_student
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.slicing import SlicedSubnet, SubnetSlicer
from elasticdenser.models.token_table import TokenTable
from elasticdenser.subnet import LEVEL_0, Subnet

_CPU = torch.device("cpu")


class TorchBackend:
    """Subnets of an encoder computed by torch; see `EncoderBackend`.

    The largest subnet is the full encoder itself, not the trained weights at full width and depth: its vectors lie
    exactly in the vector space of the passages. Every other subnet is cut out of the trained weights when it is first
    used, and so is the largest one of a student, which has no full encoder.

    How far a text's vector depends on the other texts of its batch, the table in `elasticdenser.encoders.backends`
    says.

    Args:
        full: The full encoder; None for a student.
        elastic: Its trained subnets, if there are any.
        settings: How texts become vectors.
        dtype: Arithmetic of a student.
        device: Device of a student.
    """

    def __init__(
        self,
        full: Bert | None,
        elastic: ElasticBert | None,
        settings: EncoderSettings,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device = _CPU,
    ) -> None:
        if full is not None:
            dtype, device = full.dtype, full.device
        self.dtype, self.device_type = str(dtype).removeprefix("torch."), device.type
        self._full, self._settings = full, settings
        self._token_table: TokenTable | None = None
        self._sliced: dict[Subnet, SlicedSubnet] = {}
        self._slicing = Lock()
        self.subnets = [] if full is None else [Subnet(1.0, full.n_layers)]
        self._n_tokens = 0 if full is None else len(full.tokens)
        if elastic is not None:
            self._n_tokens = len(elastic.tokens)
            if full is not None and torch.equal(elastic.tokens.to(full.device), full.tokens):
                # Share the largest tensor of the model instead of holding it twice.
                elastic.tokens = torch.nn.Parameter(full.tokens, requires_grad=False)
            self._slicer = SubnetSlicer(elastic, dtype, device)
            self.subnets += [subnet for subnet in elastic.shape.grid if subnet not in self.subnets]
            if elastic.shape.level0:
                self._token_table = TokenTable(elastic.table)
                self.subnets.append(LEVEL_0)
        self.full_subnet = self.subnets[0]

    @classmethod
    def load(
        cls,
        location: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = "auto",
        device: str = "auto",
        trained_subnets: bool = True,
    ) -> Self:
        """Load an encoder; see `load_backend`.

        Raises:
            ModelError: The files cannot be used, or there is no such dtype or device here.
        """
        resolved_device = resolve_device(device)
        resolved_dtype = resolve_dtype(dtype, resolved_device)
        if is_student(location.path):
            student = load_elastic(location.path).model
            return cls(None, student, settings, dtype=resolved_dtype, device=resolved_device)
        full = Bert.load(location.path, resolved_dtype, resolved_device)
        if not (trained_subnets and is_elastic(location.path)):
            return cls(full, None, settings)
        elastic = load_elastic(location.path).model
        check_layers(location.path, elastic.shape, full.n_layers)
        return cls(full, elastic, settings)

    @torch.inference_mode()
    def forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim); see `EncoderBackend`.

        Raises:
            ModelError: The tokenizer gave a token that the model does not have.
        """
        n_tokens = self._n_tokens
        largest = max((max(sequence, default=0) for sequence in sequences), default=0)
        if largest >= n_tokens:  # on a GPU, torch would end the process
            raise ModelError(
                f"the tokenizer gave the token {largest:,}, expected 0 to {n_tokens - 1:,}, for which the model has "
                "vectors: its tokenizer does not belong to its weights; fetch the model again"
            )
        vectors = self._vectors(sequences, subnet)
        if self._settings.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return vectors.numpy()

    def one_thread_per_call(self) -> AbstractContextManager[None]:
        """Return a context in which torch uses one thread a call; its setting is restored afterwards."""
        return one_torch_thread

    def _vectors(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Tensor:
        """Return float32, (n_sequences, dim), not normalised, on the CPU."""
        if self._full is not None and subnet == self.full_subnet:
            return self._full.pooled_vectors(sequences, self._settings.pooling)
        if subnet == LEVEL_0 and self._token_table is not None:
            return self._token_table.mean_vectors(sequences)
        sliced = self._sliced.get(subnet) or self._slice(subnet)
        inputs = sliced.body.pooled_vectors(sequences, self._settings.pooling)
        if self._token_table is not None:
            inputs = torch.cat([inputs, self._token_table.mean_vectors(sequences)], dim=1)
        return sliced.exit(inputs)

    def _slice(self, subnet: Subnet) -> SlicedSubnet:
        with self._slicing:
            if subnet not in self._sliced:
                self._sliced[subnet] = self._slicer.slice(subnet)
        return self._sliced[subnet]
