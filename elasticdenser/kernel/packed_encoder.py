"""Packing of an encoder's subnets for the kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elasticdenser.arrays import Floats
from elasticdenser.kernel.elastic_weights import ElasticWeights
from elasticdenser.kernel.packing import PackedLayer, PackedMatrix, pack_layer, pack_matrix, padded
from elasticdenser.kernel.paths import path_number
from elasticdenser.kernel.smoothing import LayerSmoother, Multiply
from elasticdenser.kernel.structs import Embeddings, KernelModel, pad_rows
from elasticdenser.kernel.weights import Transformer
from elasticdenser.subnet import LEVEL_0, Subnet


class PackedEncoder:
    """Packed weights of an encoder; all trained subnets share one copy. Not for several threads at once.

    Layers are packed when a subnet first needs them.

    Args:
        full: The full encoder.
        elastic: Its trained subnets, if there are any.
        precision: One of `PRECISIONS`.
    """

    def __init__(self, full: Transformer, elastic: ElasticWeights | None, precision: str) -> None:
        self.full_subnet = Subnet(1.0, full.n_layers)
        self._full = _PackedBody(full, precision, multiply=_multiply)
        self._elastic = elastic
        if elastic is not None:
            # The files store these layers in 8 bits with a scale a row, as the kernel takes them: smoothing gains
            # nothing.
            self._trained = _PackedBody(elastic.body, precision)
            table = elastic.token_table
            self._token_table = None if table is None else (pad_rows(table[0]), table[1])

    @property
    def subnets(self) -> list[Subnet]:
        """All subnets, from the full encoder down to level 0, if there is one."""
        if self._elastic is None:
            return [self.full_subnet]
        smaller = [subnet for subnet in self._elastic.shape.grid if subnet != self.full_subnet]
        return [self.full_subnet, *smaller, *([LEVEL_0] if self._token_table is not None else [])]

    def model_of(self, subnet: Subnet) -> KernelModel:
        """Return one of `subnets` as the kernel takes it.

        Raises:
            ModelError: The weights are damaged.
        """
        return self._full_model() if subnet == self.full_subnet else self._trained_model(subnet)

    def _full_model(self) -> KernelModel:
        body = self._full
        model = KernelModel(body.weights.hidden, len(body.weights.tokens))
        model.set_body(body.weights, body.embeddings(), body.layers(range(body.weights.n_layers)), 1.0, 0)
        return model

    def _trained_model(self, subnet: Subnet) -> KernelModel:
        elastic, body = self._elastic, self._trained
        if elastic is None:
            raise KeyError(subnet)
        model = KernelModel(elastic.shape.dim, len(body.weights.tokens))
        if self._token_table is not None:
            model.set_token_table(*self._token_table)
        if subnet != LEVEL_0:
            layers, norms = body.layers(elastic.layers_of(subnet.depth)), elastic.shape.widths.index(subnet.width)
            model.set_body(body.weights, body.embeddings(), layers, subnet.width, norms)
            model.set_exit(pack_matrix(*elastic.exit_of(subnet), "fp16"))
        return model


def _multiply(packed: PackedMatrix, inputs: Floats) -> Floats:
    """Compute a product by the fastest path: the factors must not depend on the path that uses them."""
    from elasticdenser.kernel import _kernel

    owner = KernelModel(1, 1)  # the product's arrays live as long as it does
    product = owner.product(packed)
    outputs = np.empty((len(inputs), padded(packed.n_outputs, 16)), np.float32)
    _kernel.multiply(path_number(), product, np.ascontiguousarray(inputs), outputs)
    return outputs[:, : packed.n_outputs]


class _PackedBody:
    """Transformer whose layers are packed when they are first used.

    Args:
        weights: The transformer.
        precision: One of `PRECISIONS`.
        multiply: In 8 bits, the product to smooth the layers with; all layers must then be requested at once.
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
        smoother = LayerSmoother(self.weights, self._multiply) if self._multiply and missing else None
        for number in missing:
            # One layer at a time: in float32 a layer takes four times as much memory.
            layer = self.weights.layer(number)
            self._layers[number] = smoother.pack_next(layer) if smoother else pack_layer(layer, self._precision)
        return [self._layers[number] for number in numbers]
