"""Layers laid out in 8 bits with factors for their inputs, which are found by sending some tokens through them.

An encoder's vectors must not depend on the processor, so these factors must not either. The kernel's products do not;
what numpy computes between them does, in the last bits, and is therefore in float64, and rounded to float32 after.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.numpy_layers import embedded, through_layer
from elasticdenser.kernel.packing import Packed, PackedLayer, pack, pack_norms, products_of
from elasticdenser.kernel.weights import LayerWeights, Transformer

Multiply = Callable[[Packed, Floats], Floats]
"""Computes a packed product of inputs, (n_tokens, inputs)."""

# Enough to find the channels that are always large, which are so whatever the text: random tokens do as well as
# questions, and 16 of them as well as 128 (mean cosine to float32 .9995 each).
_N_TOKENS = 16

# The products behind layer norms: the channels of their inputs differ most, and the others gain nothing.
_SMOOTHED = ("qkv", "up")


class Smoothing:
    """Lays out the layers of a transformer, which must be given one after the other.

    Args:
        body: The transformer.
        multiply: The kernel: what goes into a layer is what the layers before it, as they were laid out, make of the
            tokens. numpy would start threads for products this large, and be slower by it.
    """

    def __init__(self, body: Transformer, multiply: Multiply) -> None:
        # numpy's random numbers would have to be imported.
        text = Random(0).choices(range(len(body.tokens)), k=min(_N_TOKENS, len(body.positions)))
        self._body, self._multiply = body, multiply
        self._state, self._spans = embedded(body, [text])

    def pack_next(self, layer: LayerWeights) -> PackedLayer:
        """Lay out the next layer."""
        products, packed = products_of(layer), {}

        def product(name: str, given: Floats) -> Floats:
            weight, bias = products[name]
            rounded = given.astype(np.float32)
            if not np.isfinite(rounded).all():
                raise ModelError("the encoder makes of tokens what are no finite numbers: fetch the model again")
            packed[name] = pack(weight, bias, "int8", _factors(weight, rounded) if name in _SMOOTHED else None)
            wide: Array = self._multiply(packed[name], rounded).astype(np.float64)
            return wide

        self._state = through_layer(self._body, layer.norms[0], self._state, self._spans, product)
        return PackedLayer(**packed, norms=pack_norms(layer.norms))


def _factors(weight: Floats, given: Floats) -> Floats:
    """Return what inputs are to be multiplied by, (inputs,).

    It is the root of the largest weight of a channel by the largest input of it: both then use their codes equally
    well.
    """
    largest = np.maximum(weight.max(axis=0), -weight.min(axis=0))
    factors: Floats = np.sqrt(np.maximum(largest, 1e-5) / np.maximum(np.abs(given).max(axis=0), 1e-5))
    return factors
