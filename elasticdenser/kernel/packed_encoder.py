"""Packing of an encoder's subnets for the kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.elastic_weights import ElasticWeights
from elasticdenser.kernel.packing import PackedLayer, PackedMatrix, pack_layer, pack_matrix, padded
from elasticdenser.kernel.paths import path_number
from elasticdenser.kernel.smoothing import LayerSmoother, Multiply
from elasticdenser.kernel.structs import Embeddings, KernelModel, pad_rows
from elasticdenser.kernel.weights import Transformer
from elasticdenser.subnet import LEVEL_0, Subnet


class PackedEncoder:
    """Packed weights of an encoder, of which all trained subnets share one copy; not thread-safe.

    Layers are packed when a subnet first needs them.

    Args:
        full: The full encoder; None for a student, whose largest subnet takes its place.
        elastic: Its trained subnets, if there are any.
        precision: One of `PRECISIONS`.

    Raises:
        ModelError: There is neither.
    """

    def __init__(self, full: Transformer | None, elastic: ElasticWeights | None, precision: str) -> None:
        self._full = None if full is None else _PackedBody(full, precision, multiply=multiply)
        self._trained = None if elastic is None else PackedSubnets(elastic, precision)
        if full is not None:
            self.full_subnet = Subnet(1.0, full.n_layers)
        elif elastic is not None:
            self.full_subnet = elastic.shape.grid[0]
        else:
            raise ModelError("got neither a full encoder nor trained subnets, expected at least one of them")

    @property
    def subnets(self) -> list[Subnet]:
        """All subnets, from the full encoder down to level 0, if there is one."""
        trained = [] if self._trained is None else self._trained.subnets
        return [self.full_subnet, *(subnet for subnet in trained if subnet != self.full_subnet)]

    def dims_of(self, subnet: Subnet) -> tuple[int, int]:
        """Return the numbers of a subnet's vector of a text, and of its state of a token, without packing it."""
        body, trained = self._full, self._trained
        if body is not None and subnet == self.full_subnet:
            return body.weights.hidden, body.weights.hidden
        if trained is None or subnet not in trained.subnets:
            raise KeyError(f"there is no subnet {subnet}")
        return trained.dim, trained.dim if subnet == LEVEL_0 else trained.weights.hidden

    def model_of(self, subnet: Subnet) -> KernelModel:
        """Return one of `subnets` in the form that the kernel reads.

        Raises:
            ModelError: The weights are damaged.
        """
        body = self._full
        if body is not None and subnet == self.full_subnet:
            model = KernelModel(body.weights.hidden, len(body.weights.tokens))
            model.set_body(body.weights, body.embeddings(), body.layers(range(body.weights.n_layers)), 1.0, 0)
            return model
        if self._trained is None:
            raise KeyError(f"there is no subnet {subnet}: the encoder has no trained subnets")
        return self._trained.model_of(subnet)

    def static_vectors(self, token_ids: Sequence[int]) -> Floats:
        """Return the vectors that level 0, if there is one, has for tokens: float32, (n_tokens, dim)."""
        trained = self._trained
        if trained is None or trained.token_table is None:
            raise KeyError("the encoder has no level 0")
        vectors, scale = trained.token_table
        rows = np.asarray(token_ids, np.int64)
        static: Floats = vectors[rows, : trained.dim].astype(np.float32) * scale[rows, None]
        return static


class _PackedBody:
    """Transformer whose layers are packed when they are first used.

    Args:
        weights: The transformer.
        precision: One of `PRECISIONS`.
        multiply: If given, layers in 8 bits are smoothed with products that it computes; the first call of `layers`
            must then request all layers.
    """

    def __init__(self, weights: Transformer, precision: str, *, multiply: Multiply | None = None) -> None:
        self.weights, self._precision = weights, precision
        self._multiply = multiply if precision == "int8" else None
        self._layers: dict[int, PackedLayer] = {}
        self._embeddings: Embeddings | None = None

    def embeddings(self) -> Embeddings:
        """Return the padded embeddings."""
        self._embeddings = self._embeddings or Embeddings.of(self.weights)
        return self._embeddings

    def layers(self, numbers: Sequence[int]) -> list[PackedLayer]:
        """Return packed layers by their numbers."""
        n_positions = len(self.weights.positions)
        missing = [number for number in numbers if number not in self._layers]
        smoother = LayerSmoother(self.weights, self._multiply) if self._multiply and missing else None
        for number in missing:
            # One layer at a time: in float32 a layer takes four times as much memory.
            layer = self.weights.layer(number)
            packed = smoother.pack_next(layer) if smoother else pack_layer(layer, n_positions, self._precision)
            self._layers[number] = packed
        return [self._layers[number] for number in numbers]


class PackedSubnets(_PackedBody):
    """Packed weights of trained subnets, which share one copy; not thread-safe.

    Layers are packed when a subnet first needs them.

    Attributes:
        dim: Numbers of a vector.
        token_table: Vectors of level 0 in 8 bits, with padding, and their scales; None without level 0.

    Args:
        elastic: The trained subnets.
        precision: One of `PRECISIONS`.
    """

    def __init__(self, elastic: ElasticWeights, precision: str) -> None:
        # Without smoothing, which gains nothing: these layers are already stored in 8 bits with a scale a row.
        super().__init__(elastic.body, precision)
        self._elastic = elastic
        self.dim = elastic.shape.dim
        self.token_table: tuple[Array, Floats] | None = None
        if elastic.token_table is not None:
            vectors, scale = elastic.token_table
            self.token_table = pad_rows(vectors), scale

    @property
    def subnets(self) -> list[Subnet]:
        """All subnets, from the largest down to level 0, if there is one."""
        return [*self._elastic.shape.grid, *([LEVEL_0] if self.token_table is not None else [])]

    def model_of(self, subnet: Subnet) -> KernelModel:
        """Return one of `subnets` in the form that the kernel reads.

        Raises:
            ModelError: The weights are damaged.
        """
        elastic = self._elastic
        model = KernelModel(elastic.shape.dim, len(self.weights.tokens))
        if self.token_table is not None:
            model.set_token_table(*self.token_table)
        if subnet != LEVEL_0:
            layers, width_index = self.layers(elastic.layers_of(subnet.depth)), elastic.shape.widths.index(subnet.width)
            model.set_body(self.weights, self.embeddings(), layers, subnet.width, width_index)
            model.set_exit(pack_matrix(*elastic.exit_of(subnet), "fp16"))
        return model


def multiply(packed: PackedMatrix, inputs: Floats) -> Floats:
    """Return a product, float32, (n_rows, n_outputs), computed in the calling thread by the fastest path.

    Args:
        packed: The matrix.
        inputs: float32, (n_rows, n_inputs).
    """
    from elasticdenser.kernel import _kernel

    owner = KernelModel(1, 1)  # keeps the arrays alive that the product points to
    product = owner.product(packed)
    outputs = np.empty((len(inputs), padded(packed.n_outputs, 16)), np.float32)
    _kernel.multiply(path_number(), product, np.ascontiguousarray(inputs), outputs)
    return outputs[:, : packed.n_outputs]
