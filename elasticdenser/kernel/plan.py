"""What the kernel is told of one size: the structures of model.h, and the arrays that they point to."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.packing import Packed, PackedLayer, aligned, padded
from elasticdenser.kernel.weights import Transformer

ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
POOL_CLS, NORMALIZE = 1, 2

_KINDS = [np.dtype(np.int8), np.dtype(np.float32), np.dtype(np.float16)]


class ProductPlan(ctypes.Structure):
    """`Product` of model.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "scale", "offset", "bias", "smooth", "sums")),
        *((name, ctypes.c_int64) for name in ("n_inputs", "n_outputs", "n_packed", "kind")),
    )


class LayerPlan(ctypes.Structure):
    """`Layer` of model.h."""

    _fields_ = (
        *((name, ProductPlan) for name in ("qkv", "out", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "output_norm")),
    )


class ModelPlan(ctypes.Structure):
    """`Model` of model.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("tokens", "positions", "norm", "layers", "table", "table_scale")),
        ("exit", ProductPlan),
        *((name, ctypes.c_int64) for name in ("n_layers", "vocabulary", "n_positions", "hidden", "dim")),
        *((name, ctypes.c_int64) for name in ("n_heads", "head_dim", "tokens_are_half", "activation")),
        ("eps", ctypes.c_double),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """What is looked up by token and position, with rows padded to 16: float16 or float32, and float32."""

    tokens: Array
    positions: Floats
    norm: Floats

    @classmethod
    def of(cls, body: Transformer) -> Embeddings:
        """Pad the rows; tokens of whole vectors stay in their file."""
        width = padded(body.hidden, 16)
        return cls(
            tokens=whole_rows(body.tokens),
            positions=aligned(body.positions, np.float32, (len(body.positions), width)),
            norm=aligned(body.norm, np.float32, (*body.norm.shape[:2], width)),
        )


def whole_rows(table: Array) -> Array:
    """Return a table whose rows are whole vectors of 16: itself, if they are."""
    width = padded(table.shape[1], 16)
    return table if width == table.shape[1] else aligned(table, table.dtype, (len(table), width))


class Plan:
    """The kernel's view of one size; `model` is what it is given.

    Args:
        dim: Dimensions of the vectors.
        vocabulary: Number of tokens.
    """

    def __init__(self, dim: int, vocabulary: int) -> None:
        self.model = ModelPlan(dim=dim, vocabulary=vocabulary)
        self._kept: list[object] = []  # what the addresses are of

    def use_body(
        self, body: Transformer, embeddings: Embeddings, layers: Sequence[PackedLayer], width: float, norms: int
    ) -> None:
        """Go through these layers of a transformer, with a share of its heads and neurons and one set of norms."""
        n_heads, n_neurons = round(body.n_heads * width), round(body.n_neurons * width)
        joined = n_heads * body.head_dim
        plans = (LayerPlan * len(layers))()
        for plan, layer in zip(plans, layers, strict=True):
            plan.qkv = self.product(layer.qkv, n_outputs=3 * joined)
            plan.out = self.product(layer.out, n_inputs=joined)
            plan.up = self.product(layer.up, n_outputs=n_neurons)
            plan.down = self.product(layer.down, n_inputs=n_neurons)
            plan.attention_norm, plan.output_norm = map(self._at, layer.norms[norms])
        model = self.model
        model.tokens, model.positions = self._at(embeddings.tokens), self._at(embeddings.positions)
        model.norm = self._at(embeddings.norm[norms])
        model.layers = ctypes.addressof(plans)
        self._kept.append(plans)
        model.n_layers, model.n_positions, model.hidden = len(layers), len(body.positions), body.hidden
        model.n_heads, model.head_dim, model.eps = n_heads, body.head_dim, body.eps
        model.tokens_are_half = embeddings.tokens.dtype == np.float16
        model.activation = ACTIVATIONS.index(body.activation)

    def use_table(self, vectors: Array, scale: Floats) -> None:
        """Add up token vectors too: rows of `whole_rows`."""
        self.model.table, self.model.table_scale = self._at(vectors), self._at(scale)

    def use_exit(self, packed: Packed) -> None:
        """Multiply what there is by this in the end."""
        self.model.exit = self.product(packed)

    def product(self, packed: Packed, n_inputs: int | None = None, n_outputs: int | None = None) -> ProductPlan:
        """Return the plan of the first inputs and outputs of a product, which lives as long as this plan.

        Raises:
            ModelError: There are fewer of them.
        """
        used = packed.n_inputs if n_inputs is None else n_inputs
        made = packed.n_outputs if n_outputs is None else n_outputs
        if not (0 < used <= packed.n_inputs and 0 < made <= packed.n_outputs):
            raise ModelError(
                f"got weights of {packed.n_outputs} outputs by {packed.n_inputs} inputs; expected {made} by {used} at "
                "least: fetch the model again"
            )
        plan = ProductPlan(
            weights=self._at(packed.weights),
            bias=self._at(packed.bias),
            n_inputs=used,
            n_outputs=made,
            n_packed=packed.n_packed,
            kind=_KINDS.index(packed.weights.dtype),
        )
        if packed.scale is not None:
            sums, offset = packed.sums(used)
            plan.scale, plan.sums, plan.offset = self._at(packed.scale), self._at(sums), self._at(offset)
        if packed.smooth is not None:
            plan.smooth = self._at(packed.smooth)
        return plan

    def _at(self, array: Array) -> int:
        self._kept.append(array)
        return int(array.ctypes.data)
