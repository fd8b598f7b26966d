"""Backend of static encoders: the mean of token vectors of a table, by NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self

import numpy as np

from elasticdenser.arrays import Array, Floats, Vectors, l2_normalised
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import ModelError
from elasticdenser.kernel.tensors import Tensors
from elasticdenser.models.architectures import ANY
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.model_files import has_modules
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.table_files import TABLE_NAMES
from elasticdenser.models.tokenizer import load_encoder_tokenizer
from elasticdenser.models.weights_files import weights_file
from elasticdenser.subnet import LEVEL_0, Subnet


class StaticBackend:
    """A table of token vectors, whose mean is the vector of a text; see `EncoderBackend`.

    Its only subnet is `level0`, which is the full encoder here. A text without a known token has a vector of zeros. A
    text's vector does not depend on the other texts of its batch, to the bit.

    Args:
        table: (n_rows, dim), of any type of number.
        rows: Row of each token, int64; None is one row for each token, in their order.
        weights: Weight of each token, float32; None is 1.
        unknown: Token that is left out of the mean, if any.
        settings: How texts become vectors.
    """

    dtype, device_type = "float32", "cpu"

    def __init__(
        self, table: Array, rows: Array | None, weights: Floats | None, unknown: int | None, settings: EncoderSettings
    ) -> None:
        self._table, self._rows, self._weights, self._unknown = table, rows, weights, unknown
        self._n_tokens = len(table) if rows is None else len(rows)
        self._normalize = settings.normalize
        self.full_subnet, self.subnets = LEVEL_0, [LEVEL_0]

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
        """Load a table; see `load_backend`.

        Raises:
            ModelError: The files cannot be used.
        """
        device_type(device)  # a table is read on the CPU, whatever the device; this refuses names that make no sense
        tensors = Tensors(weights_file(location.path))
        name = next((name for name in TABLE_NAMES if name in tensors.names()), TABLE_NAMES[0])
        # Rows become float32 when they are read. A table of 8 bits has one scale, which the direction does not need.
        table = tensors.floats(name) if tensors.is_bfloat16(name) else tensors.stored(name)
        rows = tensors.stored("mapping").astype(np.int64) if "mapping" in tensors.names() else None
        weights = tensors.floats("weights") if "weights" in tensors.names() else None
        n_tokens = len(table) if rows is None else len(rows)
        if rows is not None and (rows.ndim != 1 or not ((rows >= 0) & (rows < len(table))).all()):
            raise ModelError(f"{tensors.path}: got a mapping to rows that the table of {len(table)} does not have")
        if weights is not None:
            tensors.check("weights", (ANY,))
            if len(weights) < n_tokens:
                raise ModelError(f"{tensors.path}: got weights of {len(weights)} tokens, expected {n_tokens}")
        unknown = None if has_modules(location.path) else _unknown_token(location, settings)
        return cls(table, rows, weights, unknown, settings)

    def forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim); see `EncoderBackend`.

        Raises:
            ModelError: The tokenizer gave a token that the table does not have.
        """
        vectors = np.zeros((len(sequences), self._table.shape[1]), np.float32)
        for number, sequence in enumerate(sequences):
            tokens = np.asarray(sequence, np.int64)
            if self._unknown is not None:
                tokens = tokens[tokens != self._unknown]
            if len(tokens):
                vectors[number] = self._token_vectors(tokens).mean(axis=0)
        return l2_normalised(vectors) if self._normalize else vectors

    def one_thread_per_call(self) -> AbstractContextManager[None]:
        """Return an empty context: NumPy computes in the calling thread alone."""
        return nullcontext()

    def _token_vectors(self, tokens: Array) -> Vectors:
        if tokens.max() >= self._n_tokens:
            raise ModelError(
                f"the tokenizer gave the token {int(tokens.max()):,}, expected 0 to {self._n_tokens - 1:,}, for which "
                "the model has vectors: its tokenizer does not belong to its weights; fetch the model again"
            )
        vectors: Vectors = self._table[tokens if self._rows is None else self._rows[tokens]].astype(np.float32)
        return vectors if self._weights is None else vectors * self._weights[tokens, None]


def _unknown_token(location: ModelLocation, settings: EncoderSettings) -> int | None:
    """Return the token that model2vec leaves out: that of unknown words, unless the tokenizer is a Unigram."""
    tokenizer = load_encoder_tokenizer(location.path, settings.max_length)
    name = getattr(tokenizer.model, "unk_token", None)
    return None if name is None else tokenizer.token_to_id(name)
