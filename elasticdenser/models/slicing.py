"""Subnets cut out of an elastic transformer, each as a transformer of its own for inference by torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from elasticdenser.models.bert import Bert, Layer, Norm
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.heads import ElasticHead
from elasticdenser.models.layers import Linear, make_linear
from elasticdenser.subnet import Subnet


class SlicedSubnet(NamedTuple):
    """Subnet ready for inference.

    Args:
        body: Its transformer.
        exit: Projection of the pooled vector and, where there is a token table, of level 0's vector; float32 on the
            CPU, where its inputs are.
    """

    body: Bert
    exit: Linear


class SubnetSlicer:
    """Cuts subnets out of an elastic transformer; subnets of equal width share their layers.

    Not for several threads at once.

    Args:
        model: The elastic transformer.
        dtype: Arithmetic of the matrix products.
        device: Device of the transformers.
        tokens: Token vectors to use instead of the model's, float32, (n_tokens, hidden).
    """

    def __init__(
        self, model: ElasticHead, dtype: torch.dtype, device: torch.device, *, tokens: Tensor | None = None
    ) -> None:
        self._model, self._dtype, self._device = model, dtype, device
        self._tokens = model.tokens if tokens is None else tokens
        self._layers: dict[tuple[float, int], Layer] = {}

    @torch.inference_mode()
    def slice(self, subnet: Subnet) -> SlicedSubnet:
        """Return a trained subnet, other than level 0."""
        model, shape = self._model, self._model.shape
        first, others = shape.layers_of(subnet.depth)
        body = Bert(
            tokens=self._tokens.to(self._device),
            positions=model.positions.to(self._device),
            norm=_norm(model.norm[shape.widths.index(subnet.width)], self._device),
            layers=[self._layer(number, subnet.width) for number in (*first, *others)],
            n_heads=round(shape.n_heads * subnet.width),
            eps=shape.norm_eps,
            dtype=self._dtype,
        )
        weight, bias = model.exit_of(subnet)
        if isinstance(model, ElasticBert) and shape.level0:
            weight = torch.cat([weight, model.shortcut_of(subnet)], dim=1)
        return SlicedSubnet(body, make_linear(weight, bias))

    def _layer(self, number: int, width: float) -> Layer:
        key = width, number
        if key not in self._layers:
            self._layers[key] = self._sliced(number, width)
        return self._layers[key]

    def _sliced(self, number: int, width: float) -> Layer:
        """Return a layer's first heads and neurons."""
        shape, layer = self._model.shape, self._model.layers[number]
        heads, neurons = round(shape.n_heads * width), round(shape.n_neurons * width)
        after_attention, after_neurons = layer.norms[shape.widths.index(width)]

        def linear(weight: Tensor, bias: Tensor, activation: str = "none") -> Linear:
            return make_linear(weight.to(self._device, self._dtype), bias.to(self._device, self._dtype), activation)

        return Layer(
            query_key_value=linear(layer.qkv[:, :heads].flatten(0, 2), layer.qkv_bias[:, :heads].flatten()),
            attention_output=linear(layer.out[:, :heads].flatten(1), layer.out_bias),
            attention_norm=_norm(after_attention, self._device),
            up=linear(layer.up[:neurons], layer.up_bias[:neurons], shape.activation),
            down=linear(layer.down[:, :neurons], layer.down_bias),
            output_norm=_norm(after_neurons, self._device),
            distance_bias=layer.distance_bias[:heads].to(self._device, self._dtype) if shape.max_distance else None,
        )


def _norm(weight_and_bias: Tensor, device: torch.device) -> Norm:
    weight, bias = weight_and_bias.to(device)
    return weight, bias
