"""The structures of model.h in Python, and the arrays that their pointers refer to."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.packing import PackedLayer, PackedMatrix, aligned, padded
from elasticdenser.kernel.weights import Transformer

ACTIVATIONS = ("gelu", "gelu_tanh", "relu")
"""Activations in the order of the constants in model.h."""

POOL_CLS, NORMALIZE = 1, 2
"""Options of a forward pass, as model.h has them."""

# Types of packed weights in the order of the kinds in model.h.
_KINDS = [np.dtype(np.int8), np.dtype(np.float32), np.dtype(np.float16)]


class ProductStruct(ctypes.Structure):
    """`Product` of model.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "scale", "offset", "bias", "smooth", "sums")),
        *((name, ctypes.c_int64) for name in ("n_inputs", "n_outputs", "n_packed", "n_columns", "kind")),
    )


class LayerStruct(ctypes.Structure):
    """`Layer` of model.h."""

    _fields_ = (
        *((name, ProductStruct) for name in ("qkv", "out", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "output_norm", "distance_bias")),
    )


class ModelStruct(ctypes.Structure):
    """`Model` of model.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("tokens", "positions", "norm", "layers")),
        *((name, ctypes.c_void_p) for name in ("token_table", "token_table_scale")),
        ("exit", ProductStruct),
        *((name, ctypes.c_int64) for name in ("n_layers", "vocabulary", "n_positions", "hidden", "dim")),
        *((name, ctypes.c_int64) for name in ("n_heads", "head_dim", "tokens_are_half", "activation")),
        ("eps", ctypes.c_double),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Token vectors (float16 or float32), position vectors and their norms (float32), with rows padded to 16."""

    tokens: Array
    positions: Floats
    norm: Floats

    @classmethod
    def of(cls, body: Transformer) -> Embeddings:
        """Pad the rows; token vectors that need no padding stay in their memory-mapped file."""
        width = padded(body.hidden, 16)
        return cls(
            tokens=pad_rows(body.tokens),
            positions=aligned(body.positions, np.float32, (len(body.positions), width)),
            norm=aligned(body.norm, np.float32, (*body.norm.shape[:2], width)),
        )


def pad_rows(matrix: Array) -> Array:
    """Return a matrix with its rows padded to a multiple of 16 columns; the matrix itself if no padding is needed."""
    width = padded(matrix.shape[1], 16)
    return matrix if width == matrix.shape[1] else aligned(matrix, matrix.dtype, (len(matrix), width))


class KernelModel:
    """One subnet in the form that the kernel reads.

    Args:
        dim: Dimensions of the vectors.
        vocabulary: Number of tokens.

    Attributes:
        struct: The argument of the kernel. It points into arrays that live as long as this object.
    """

    def __init__(self, dim: int, vocabulary: int) -> None:
        self.struct = ModelStruct(dim=dim, vocabulary=vocabulary)
        self.dim = dim
        self._referenced: list[object] = []  # keeps the arrays alive that the structures point to

    def set_body(
        self, body: Transformer, embeddings: Embeddings, layers: Sequence[PackedLayer], width: float, width_index: int
    ) -> None:
        """Set the layers of a transformer to compute.

        Args:
            body: The transformer.
            embeddings: Its embeddings.
            layers: The layers, in the order in which they are applied.
            width: Share of the heads and neurons to use.
            width_index: Index of the width, which selects the layer norms.
        """
        n_heads, n_neurons = round(body.n_heads * width), round(body.n_neurons * width)
        n_joined = n_heads * body.head_dim
        structs = (LayerStruct * len(layers))()
        for struct, layer in zip(structs, layers, strict=True):
            struct.qkv = self.product(layer.qkv, n_outputs=3 * n_joined)
            struct.out = self.product(layer.out, n_inputs=n_joined)
            struct.up = self.product(layer.up, n_outputs=n_neurons)
            struct.down = self.product(layer.down, n_inputs=n_neurons)
            struct.attention_norm, struct.output_norm = map(self._address, layer.norms[width_index])
            if layer.distance_bias is not None:
                struct.distance_bias = self._address(layer.distance_bias)
        model = self.struct
        model.tokens, model.positions = self._address(embeddings.tokens), self._address(embeddings.positions)
        model.norm = self._address(embeddings.norm[width_index])
        model.layers = ctypes.addressof(structs)
        self._referenced.append(structs)
        model.n_layers, model.n_positions, model.hidden = len(layers), len(body.positions), body.hidden
        model.n_heads, model.head_dim, model.eps = n_heads, body.head_dim, body.eps
        model.tokens_are_half = embeddings.tokens.dtype == np.float16
        model.activation = ACTIVATIONS.index(body.activation)

    def set_token_table(self, vectors: Array, scale: Floats) -> None:
        """Set the token vectors of level 0: int8, with rows padded by `pad_rows`, and the scale of each row."""
        self.struct.token_table, self.struct.token_table_scale = self._address(vectors), self._address(scale)

    def set_exit(self, packed: PackedMatrix) -> None:
        """Set the projection of the pooled vector and, where there is a token table, of level 0's vector."""
        self.struct.exit = self.product(packed)

    def product(self, packed: PackedMatrix, n_inputs: int | None = None, n_outputs: int | None = None) -> ProductStruct:
        """Return the structure of a product that uses the first inputs and outputs of a matrix, or all of them.

        Raises:
            ModelError: The matrix has fewer of them.
        """
        n_inputs = packed.n_inputs if n_inputs is None else n_inputs
        n_outputs = packed.n_outputs if n_outputs is None else n_outputs
        if not (0 < n_inputs <= packed.n_inputs and 0 < n_outputs <= packed.n_outputs):
            raise ModelError(
                f"got weights of {packed.n_outputs} outputs by {packed.n_inputs} inputs, expected at least "
                f"{n_outputs} by {n_inputs}: fetch the model again"
            )
        struct = ProductStruct(
            weights=self._address(packed.weights),
            bias=self._address(packed.bias),
            n_inputs=n_inputs,
            n_outputs=n_outputs,
            n_packed=packed.n_packed,
            n_columns=packed.n_columns,
            kind=_KINDS.index(packed.weights.dtype),
        )
        if packed.scale is not None:
            sums, offset = packed.weight_sums(n_inputs)
            struct.scale, struct.sums = self._address(packed.scale), self._address(sums)
            struct.offset = self._address(offset)
        if packed.smooth is not None:
            struct.smooth = self._address(packed.smooth)
        return struct

    def _address(self, array: Array) -> int:
        self._referenced.append(array)
        return int(array.ctypes.data)
