"""Calls of the kernel's forward pass over sequences of token ids, with a scratch buffer for each thread."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain
from threading import local

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats, Vectors
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel.packing import PRECISIONS
from elasticdenser.kernel.paths import kernel_import_error, kernel_paths, path_number
from elasticdenser.kernel.structs import KernelModel

# Bytes of a thread's first scratch buffer, enough for a query, and of the largest buffer that it keeps for its next
# call, enough for common batches.
_FIRST_SCRATCH_BYTES, _MAX_SCRATCH_BYTES = 1 << 20, 1 << 24


class KernelCaller:
    """Base class of what computes packed models, in the calling thread alone; safe to use from several threads.

    Args:
        precision: Precision of the models, one of `PRECISIONS`.
        path: One of `kernel_paths`; None is the fastest.

    Raises:
        ModelError: There is no such precision or path here.
    """

    def __init__(self, precision: str, path: str | None) -> None:
        if not kernel_paths():
            raise ModelError(f"the kernel was not built here ({kernel_import_error()}): use TorchBackend")
        if path not in (None, *kernel_paths()):
            raise ModelError(f"got the path {path!r}, expected one that this machine has: {', '.join(kernel_paths())}")
        if precision not in PRECISIONS:
            raise ModelError(f"got the precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
        from elasticdenser.kernel import _kernel

        self._kernel_forward, self._path = _kernel.forward, path_number(path)
        self._scratch = local()

    def run(self, model: KernelModel, sequences: Sequence[Sequence[int]], options: int) -> Vectors:
        """Return the output of a model for each sequence, which does not depend on the others, to the bit.

        Args:
            model: The model.
            sequences: Token ids with special tokens.
            options: Sum of the options in `structs`.

        Returns:
            float32, (n_sequences, dim).

        Raises:
            QueryError: A sequence is empty or too long, or a token does not exist.
        """
        return self._run(model, sequences, options)

    def run_with_states(
        self, model: KernelModel, sequences: Sequence[Sequence[int]], options: int
    ) -> tuple[Vectors, Floats]:
        """Return what `run` does, and the states that the last layer of a model gives the tokens.

        Returns:
            float32, (n_sequences, dim), and (n_tokens, hidden), the tokens of all sequences end to end.

        Raises:
            QueryError: As for `run`, or the model has no layers.
        """
        states = np.empty((sum(map(len, sequences)), model.struct.hidden), np.float32)
        return self._run(model, sequences, options, states), states

    def _run(self, model: KernelModel, sequences: Sequence[Sequence[int]], options: int, *states: Floats) -> Vectors:
        starts = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=starts[1:])
        vectors = np.empty((len(sequences), model.dim), np.float32)
        try:
            # `array` refuses fractions, which numpy would round.
            token_ids = np.frombuffer(array("i", list(chain.from_iterable(sequences))), np.int32)
            arguments = self._path, model.struct, token_ids, starts, options
            n_bytes = self._kernel_forward(*arguments, self._scratch_buffer(), vectors, *states)
            if n_bytes and self._kernel_forward(*arguments, self._scratch_buffer(n_bytes), vectors, *states):
                raise RuntimeError(f"the kernel asked for {n_bytes} bytes, and then for more: report this")
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(f"the token ids cannot be encoded: {error}") from None
        return vectors

    def _scratch_buffer(self, n_bytes: int = 0) -> NDArray[np.uint8]:
        """Return the calling thread's scratch buffer, of at least `n_bytes` bytes."""
        buffer: NDArray[np.uint8] | None = getattr(self._scratch, "buffer", None)
        if buffer is None or len(buffer) < n_bytes:
            buffer = np.empty(max(n_bytes, _FIRST_SCRATCH_BYTES), np.uint8)
            if len(buffer) <= _MAX_SCRATCH_BYTES:
                self._scratch.buffer = buffer
        return buffer
