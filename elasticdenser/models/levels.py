"""Every size of an elastic encoder, ready for inference: the full encoder itself, its smaller sizes, and level 0.

The largest size is not the trained weights at full width and depth but the full encoder, exactly as it is: at rest a
query gets the very vectors that the index was made for.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from elasticdenser.models.bert import Bert, Layer, Norm
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.layers import Linear, make_linear
from elasticdenser.models.shape import layers_of
from elasticdenser.models.token_table import TokenTable
from elasticdenser.subnet import LEVEL_0, Subnet


class _Level(NamedTuple):
    body: Bert
    # In float32 and on the CPU, where pooled vectors and level 0 come from.
    exit_to: Linear


class Levels:
    """The sizes of an encoder; safe to call from several threads.

    A size's weights are laid out for the processor when it is first used; sizes of equal width share them.

    Args:
        full: The full encoder.
        elastic: Its trained sizes, if there are any.
    """

    def __init__(self, full: Bert, elastic: ElasticBert | None = None) -> None:
        self.full_subnet = Subnet(1.0, full.n_layers)
        self._full, self._elastic = full, elastic
        self._table = TokenTable(elastic.table) if elastic is not None and elastic.shape.level0 else None
        self._made: dict[Subnet, _Level] = {}
        self._layers: dict[tuple[float, int], Layer] = {}
        self._making = Lock()
        smaller = [] if elastic is None else [size for size in elastic.shape.grid if size != self.full_subnet]
        self.subnets = [self.full_subnet, *smaller, *([LEVEL_0] if self._table else [])]
        if elastic is not None and torch.equal(elastic.tokens.to(full.device), full.tokens):
            # The largest tensor of all need not be held twice.
            elastic.tokens = torch.nn.Parameter(full.tokens, requires_grad=False)

    @torch.inference_mode()
    def encode(self, sequences: Sequence[Sequence[int]], pooling: str, subnet: Subnet) -> Tensor:
        """Return a vector for each sequence of token ids, which does not depend on the other sequences.

        Args:
            sequences: Token ids with special tokens; those of equal length together.
            pooling: `mean` or `cls`.
            subnet: One of `sizes`.

        Returns:
            float32, (n_sequences, dim), not normalised, on the CPU.
        """
        if subnet == self.full_subnet:
            return self._full.encode(sequences, pooling)
        if subnet == LEVEL_0 and self._table is not None:
            return self._table.encode(sequences)
        level = self._at(subnet)
        given = level.body.encode(sequences, pooling)
        if self._table is not None:
            given = torch.cat([given, self._table.encode(sequences)], dim=1)
        return level.exit_to(given)

    def _at(self, subnet: Subnet) -> _Level:
        made = self._made.get(subnet)
        if made is None:
            with self._making:
                made = self._made.get(subnet) or self._made.setdefault(subnet, self._make(subnet))
        return made

    @torch.inference_mode()
    def _make(self, subnet: Subnet) -> _Level:
        model = self._elastic
        if model is None:
            raise KeyError(subnet)
        shape, device = model.shape, self._full.device
        first, last = layers_of(subnet.depth, shape.n_layers)
        body = Bert(
            tokens=model.tokens.to(device),
            positions=model.positions.to(device),
            norm=_norm(model.norm[shape.widths.index(subnet.width)], device),
            layers=[self._layer(model, subnet.width, number) for number in (*first, *last)],
            n_heads=round(shape.n_heads * subnet.width),
            eps=shape.norm_eps,
            dtype=self._full.dtype,
        )
        weight, bias = model.exit_of(subnet)
        if shape.level0:
            weight = torch.cat([weight, model.shortcut_of(subnet)], dim=1)
        return _Level(body, make_linear(weight, bias))

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
