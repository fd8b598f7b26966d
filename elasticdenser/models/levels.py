"""Every size of an elastic encoder, ready for inference: the full encoder itself, its smaller sizes, and level 0.

The largest size is not the trained weights at full width and depth but the full encoder, exactly as it is: at rest a
query gets the very vectors that the index was made for.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

from elasticdenser.models.bert import Bert, Layer, Norm
from elasticdenser.models.elastic import ElasticBert, layers_of
from elasticdenser.models.layers import Linear, make_linear
from elasticdenser.models.token_table import TokenTable
from elasticdenser.subnet import LEVEL_0, Subnet


class Levels:
    """The sizes of an encoder; safe to call from several threads.

    A size's weights are laid out for the processor when it is first used; sizes of equal width share them.

    Args:
        full: The full encoder.
        elastic: Its trained sizes, if there are any.
        table: Its level 0, if there is one.
    """

    def __init__(self, full: Bert, elastic: ElasticBert | None = None, table: TokenTable | None = None) -> None:
        self.full_size = Subnet(1.0, full.n_layers)
        self._elastic, self._table = elastic, table
        self._full = full
        self._made: dict[Subnet, Bert] = {self.full_size: full}
        self._layers: dict[tuple[float, int], Layer] = {}
        self._making = Lock()
        smaller = [] if elastic is None else [size for size in elastic.shape.grid if size != self.full_size]
        self.sizes = [self.full_size, *smaller, *([] if table is None else [LEVEL_0])]
        if elastic is not None and torch.equal(elastic.tokens.to(full.device), full.tokens):
            # The largest tensor of all need not be held twice.
            elastic.tokens = torch.nn.Parameter(full.tokens, requires_grad=False)

    def encode(self, sequences: Sequence[Sequence[int]], pooling: str, subnet: Subnet) -> Tensor:
        """Return a vector for each sequence of token ids, which does not depend on the other sequences.

        Args:
            sequences: Token ids with special tokens; those of equal length together.
            pooling: `mean` or `cls`.
            subnet: One of `sizes`.

        Returns:
            float32, (n_sequences, dim), not normalised, on the CPU.
        """
        if subnet == LEVEL_0 and self._table is not None:
            return self._table.encode(sequences)
        return self._at(subnet).encode(sequences, pooling)

    def _at(self, subnet: Subnet) -> Bert:
        made = self._made.get(subnet)
        if made is None:
            with self._making:
                made = self._made.get(subnet) or self._made.setdefault(subnet, self._make(subnet))
        return made

    @torch.inference_mode()
    def _make(self, subnet: Subnet) -> Bert:
        model = self._elastic
        if model is None:
            raise KeyError(subnet)
        shape, dtype, device = model.shape, self._full.dtype, self._full.device
        at = shape.widths.index(subnet.width)
        weight, bias = model.exit_of(subnet)
        first, last = layers_of(subnet.depth, shape.n_layers)
        return Bert(
            tokens=model.tokens.to(device),
            positions=model.positions.to(device),
            norm=_norm(model.norm[at], device),
            layers=[self._layer(model, subnet.width, number) for number in (*first, *last)],
            n_heads=round(shape.n_heads * subnet.width),
            eps=shape.norm_eps,
            dtype=dtype,
            # In float32, as pooling is.
            exit_to=make_linear(weight.to(device), bias.to(device)),
        )

    def _layer(self, model: ElasticBert, width: float, number: int) -> Layer:
        key = width, number
        if key not in self._layers:
            self._layers[key] = _sliced(model, number, width, self._full.dtype, self._full.device)
        return self._layers[key]


def _sliced(model: ElasticBert, number: int, width: float, dtype: torch.dtype, device: torch.device) -> Layer:
    """Return a layer's first heads and neurons."""
    shape, layer = model.shape, model.layers[number]
    heads, neurons = round(shape.n_heads * width), round(shape.n_neurons * width)
    after_attention, after_neurons = layer.norms[shape.widths.index(width)]

    def linear(weight: Tensor, bias: Tensor, activation: str = "none") -> Linear:
        return make_linear(weight.to(device, dtype), bias.to(device, dtype), activation)

    return Layer(
        query_key_value=linear(layer.qkv[:, :heads].flatten(0, 2), layer.qkv_bias[:, :heads].flatten()),
        attention_output=linear(layer.out[:, :heads].flatten(1), layer.out_bias),
        attention_norm=_norm(after_attention, device),
        up=linear(layer.up[:neurons], layer.up_bias[:neurons], shape.activation),
        down=linear(layer.down[:, :neurons], layer.down_bias),
        output_norm=_norm(after_neurons, device),
    )


def _norm(weight_and_bias: Tensor, device: torch.device) -> Norm:
    weight, bias = weight_and_bias.to(device)
    return weight, bias
