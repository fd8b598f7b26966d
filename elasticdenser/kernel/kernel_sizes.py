"""The sizes of an encoder as the kernel computes them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats
from elasticdenser.kernel.elastic_weights import ElasticWeights
from elasticdenser.kernel.packing import Packed, PackedLayer, pack, pack_layer, padded
from elasticdenser.kernel.plan import NORMALIZE, POOL_CLS, Embeddings, Plan, whole_rows
from elasticdenser.kernel.smoothing import Multiply, Smoothing
from elasticdenser.kernel.weights import Transformer
from elasticdenser.subnet import LEVEL_0, Subnet

PORTABLE = "portable"
_PATHS: tuple[str, ...] = ()
_FAULT = ""
try:
    from elasticdenser.kernel import _kernel

    _PATHS = _kernel.paths()
except ImportError as error:  # it is optional: see setup.py
    _FAULT = str(error)

# What a thread keeps for its next call: enough for common batches, but not for the largest there ever was.
_MOST_KEPT = 1 << 24


def kernel_paths() -> tuple[str, ...]:
    """Return the kernel's ways to compute that this machine has, fastest first; none if it is not built."""
    return _PATHS


def has_fast_path() -> bool:
    """Say whether the kernel was built here, and has a path that is faster than numpy."""
    return any(path != PORTABLE for path in kernel_paths())


def kernel_fault() -> str:
    """Return why there is no kernel, as Python said when it was imported; empty where there is one."""
    return _FAULT


class KernelSize:
    """One size; safe to call from several threads, which compute at the same time.

    Args:
        plan: What the kernel is told of it.
        path: Which of `kernel_paths`.
        scratch: What calls in one thread may write to.
    """

    def __init__(self, plan: Plan, path: int, scratch: local) -> None:
        self._plan, self._path, self._scratch = plan, path, scratch
        self._dim = int(plan.model.dim)

    def encode(self, ids: NDArray[np.int32], starts: NDArray[np.int64], pooling: str, normalize: bool) -> Floats:
        """Return a vector for each text: float32, (n_texts, dim).

        Args:
            ids: int32, the token ids of all texts.
            starts: int64, (n_texts + 1,): where in `ids` each begins and the last ends.
            pooling: `mean` or `cls`.
            normalize: Whether vectors get length 1.

        Raises:
            ValueError: A text is empty or too long, or a token does not exist.
        """
        options = (POOL_CLS if pooling == "cls" else 0) | (NORMALIZE if normalize else 0)
        vectors = np.empty((len(starts) - 1, self._dim), np.float32)
        room = getattr(self._scratch, "room", None)
        if room is None:
            room = self._scratch.room = np.empty(1 << 20, np.uint8)
        n_lacking = _kernel.encode(self._path, self._plan.model, ids, starts, options, room, vectors)
        if n_lacking:
            room = np.empty(n_lacking, np.uint8)
            if _kernel.encode(self._path, self._plan.model, ids, starts, options, room, vectors):
                raise RuntimeError(f"the kernel asked for {n_lacking} bytes, and then for more: report this")
            if n_lacking <= _MOST_KEPT:
                self._scratch.room = room
        return vectors


class KernelSizes:
    """Makes the sizes of an encoder; not for several threads at once.

    Args:
        full: The full encoder.
        elastic: Its trained sizes, if there are any; they share one copy of weights.
        precision: One of `PRECISIONS`.
        path: One of `kernel_paths`.
    """

    def __init__(self, full: Transformer, elastic: ElasticWeights | None, precision: str, path: str) -> None:
        self._path, self._precision, self._scratch = kernel_paths().index(path), precision, local()
        self._full = _Body(full, precision, multiply=_multiply)
        self._elastic = elastic
        if elastic is not None:
            # Layers are stored in 8 bits, a scale a row, as the kernel has them: they gain nothing by smoothing.
            self._trained = _Body(elastic.body, precision)
            self._table = None if elastic.table is None else (whole_rows(elastic.table[0]), elastic.table[1])

    def full_subnet(self) -> KernelSize:
        """Return the full encoder."""
        body = self._full
        plan = Plan(body.weights.hidden, len(body.weights.tokens))
        plan.use_body(body.weights, body.embeddings(), body.layers(range(body.weights.n_layers)), 1.0, 0)
        return KernelSize(plan, self._path, self._scratch)

    def trained_size(self, subnet: Subnet) -> KernelSize:
        """Return one of the trained sizes, or level 0."""
        elastic, body = self._elastic, self._trained
        if elastic is None:
            raise KeyError(subnet)
        plan = Plan(elastic.shape.dim, len(body.weights.tokens))
        if self._table is not None:
            plan.use_table(*self._table)
        if subnet != LEVEL_0:
            layers, norms = body.layers(elastic.layers_of(subnet.depth)), elastic.shape.widths.index(subnet.width)
            plan.use_body(body.weights, body.embeddings(), layers, subnet.width, norms)
            plan.use_exit(pack(*elastic.exit_of(subnet), "fp16"))
        return KernelSize(plan, self._path, self._scratch)


def _multiply(packed: Packed, given: Floats) -> Floats:
    """Compute a product, on the fastest path: weights are to be the same whatever path they are used on."""
    plan = Plan(1, 1)
    product = plan.product(packed)
    out = np.empty((len(given), padded(packed.n_outputs, 16)), np.float32)
    _kernel.multiply(0, product, np.ascontiguousarray(given), out)
    return out[:, : packed.n_outputs]


class _Body:
    """A transformer, whose layers are laid out when they are first asked for.

    Args:
        weights: The transformer.
        precision: One of `PRECISIONS`.
        multiply: In 8 bits, what smooths the layers; they must then be asked for all at once.
    """

    def __init__(self, weights: Transformer, precision: str, *, multiply: Multiply | None = None) -> None:
        self.weights, self._precision = weights, precision
        self._multiply = multiply if precision == "int8" else None
        self._layers: dict[int, PackedLayer] = {}
        self._embeddings: Embeddings | None = None

    def embeddings(self) -> Embeddings:
        self._embeddings = self._embeddings or Embeddings.of(self.weights)
        return self._embeddings

    def layers(self, numbers: Sequence[int]) -> list[PackedLayer]:
        missing = [number for number in numbers if number not in self._layers]
        smoothing = Smoothing(self.weights, self._multiply) if self._multiply and missing else None
        for number in missing:
            # One after the other: as float32 they are four times as large.
            layer = self.weights.layer(number)
            self._layers[number] = smoothing.pack_next(layer) if smoothing else pack_layer(layer, self._precision)
        return [self._layers[number] for number in numbers]
