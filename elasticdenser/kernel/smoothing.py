"""Smoothing factors (SmoothQuant, Xiao et al. 2023) of 8-bit layers, found by sending a few tokens through them.

An encoder's vectors must not depend on the processor, and so the factors must not either. The kernel's products are the
same on every processor. numpy's functions between them differ in the last bits: they are computed in float64, and their
results are rounded to float32.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.calibration import apply_layer, embed
from elasticdenser.kernel.packing import PackedLayer, PackedMatrix, pack_matrix, packed_layer, products_of
from elasticdenser.kernel.weights import LayerWeights, Transformer

Multiply = Callable[[PackedMatrix, Floats], Floats]
"""Computes the product of a packed matrix and inputs, float32, (n_tokens, n_inputs)."""

# Tokens to calibrate with. They only have to show which channels are large in any text: random tokens serve as well as
# questions, and 16 of them as well as 128 (mean cosine to float32 .9995 each).
_N_TOKENS = 16

# The products behind layer norms: the channels of their inputs differ most. The others gain nothing by smoothing.
_SMOOTHED = ("qkv", "up")

# Lower bound of weights and inputs, so that a channel of zeros gets a finite factor.
_MIN_MAGNITUDE = 1e-5


class LayerSmoother:
    """Packs the layers of a transformer in 8 bits, with smoothing factors; layers must come in order.

    Args:
        body: The transformer.
        multiply: Computes products with the kernel, so that a layer's input is the output of the packed layers before
            it. numpy would start threads for such products, and be slower.
    """

    def __init__(self, body: Transformer, multiply: Multiply) -> None:
        # Not numpy.random: importing it takes longer than drawing 16 numbers.
        token_ids = Random(0).choices(range(len(body.tokens)), k=min(_N_TOKENS, len(body.positions)))
        self._body, self._multiply = body, multiply
        self._hidden: Array = embed(body, token_ids)

    def pack_next(self, layer: LayerWeights) -> PackedLayer:
        """Pack the next layer.

        Raises:
            ModelError: A hidden state is not a finite number.
        """
        products, packed = products_of(layer), {}

        def product(name: str, inputs: Array) -> Array:
            weight, bias = products[name]
            rounded = inputs.astype(np.float32)
            if not np.isfinite(rounded).all():
                raise ModelError("the encoder's hidden states are not finite: fetch the model again")
            smooth = _factors(weight, rounded) if name in _SMOOTHED else None
            packed[name] = pack_matrix(weight, bias, "int8", smooth)
            outputs: Array = self._multiply(packed[name], rounded).astype(np.float64)
            return outputs

        self._hidden = apply_layer(self._body, layer, self._hidden, product)
        return packed_layer(layer, len(self._body.positions), packed)


def _factors(weight: Floats, inputs: Floats) -> Floats:
    """Return the factors of the inputs, (n_inputs,).

    A channel's factor is the root of its largest weight over its largest input: weights and inputs then use their codes
    equally well.
    """
    largest = np.maximum(weight.max(axis=0), -weight.min(axis=0))
    factors: Floats = np.sqrt(
        np.maximum(largest, _MIN_MAGNITUDE) / np.maximum(np.abs(inputs).max(axis=0), _MIN_MAGNITUDE)
    )
    return factors
