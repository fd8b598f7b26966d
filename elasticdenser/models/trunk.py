"""Trunk of the elastic transformers: one set of weights, of which each subnet uses a part.

A subnet (width, depth) keeps the first heads and the first feed-forward neurons of every layer, and drops layers, by
default from the middle: the first layers read the text, the last ones make what the exits take. Each width has layer
norms of its own; all other weights are shared by all subnets.

After ElasticLM (Zhang, Wang, Song: On Elastic Language Models) and DynaBERT (Hou et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.errors import QueryError
from elasticdenser.models.layers import ACTIVATIONS, pair_biases
from elasticdenser.models.shape import ElasticShape
from elasticdenser.subnet import Subnet


class ElasticLayer(nn.Module):
    """Transformer layer whose first heads and neurons can be used alone.

    Args:
        shape: Shape of the model.
    """

    def __init__(self, shape: ElasticShape) -> None:
        super().__init__()
        self.head_dim = shape.hidden // shape.n_heads
        heads, n_widths = shape.n_heads, len(shape.widths)
        self.qkv = nn.Parameter(torch.empty(3, heads, self.head_dim, shape.hidden))
        self.qkv_bias = nn.Parameter(torch.zeros(3, heads, self.head_dim))
        self.out = nn.Parameter(torch.empty(shape.hidden, heads, self.head_dim))
        self.out_bias = nn.Parameter(torch.zeros(shape.hidden))
        self.up = nn.Parameter(torch.empty(shape.n_neurons, shape.hidden))
        self.up_bias = nn.Parameter(torch.zeros(shape.n_neurons))
        self.down = nn.Parameter(torch.empty(shape.hidden, shape.n_neurons))
        self.down_bias = nn.Parameter(torch.zeros(shape.hidden))
        # (width, after attention or after the neurons, weight or bias, hidden)
        self.norms = nn.Parameter(torch.zeros(n_widths, 2, 2, shape.hidden))
        if shape.max_distance:
            self.distance_bias = nn.Parameter(torch.zeros(heads, 2 * shape.max_distance + 1))
        self._activation, self._eps, self._max_distance = shape.activation, shape.norm_eps, shape.max_distance

    def forward(self, hidden: Tensor, padding_bias: Tensor, n_heads: int, n_neurons: int, width_index: int) -> Tensor:
        """Return the hidden states after this layer.

        Args:
            hidden: (n, length, hidden).
            padding_bias: (n, 1, 1, length): added to the attention scores; 0 where there is a token, else very low.
            n_heads: Number of heads to use.
            n_neurons: Number of feed-forward neurons to use.
            width_index: Index of the width, which selects the layer norms.
        """
        n, length, hidden_size = hidden.shape
        weight, bias = self.qkv[:, :n_heads], self.qkv_bias[:, :n_heads]
        projected = F.linear(hidden, weight.reshape(-1, hidden_size), bias.reshape(-1))
        query, key, value = projected.view(n, length, 3, n_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        # Queries are short: plain products train twice to ten times as fast as the fused kernel.
        scores = query @ key.transpose(-1, -2) * self.head_dim**-0.5 + padding_bias
        if self._max_distance:
            scores = scores + pair_biases(self.distance_bias[:n_heads], length)
        attended = scores.softmax(dim=-1) @ value
        joined = attended.transpose(1, 2).reshape(n, length, -1)
        mixed = F.linear(joined, self.out[:, :n_heads].reshape(hidden_size, -1), self.out_bias)
        hidden = self._normed(hidden + mixed, width_index, 0)
        neurons = ACTIVATIONS[self._activation](F.linear(hidden, self.up[:n_neurons], self.up_bias[:n_neurons]))
        return self._normed(hidden + F.linear(neurons, self.down[:, :n_neurons], self.down_bias), width_index, 1)

    def _normed(self, hidden: Tensor, width_index: int, norm_index: int) -> Tensor:
        weight, bias = self.norms[width_index, norm_index]
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._eps)


class LowerStates(NamedTuple):
    """Hidden states after the first layers of a trunk.

    Args:
        states: (n, length, hidden).
        n_layers: Number of these layers.
    """

    states: Tensor
    n_layers: int


class ElasticTrunk(nn.Module):
    """Transformer of many subnets, without exits; the subnet is an argument: calls at several may run at once.

    Args:
        shape: Its shape.
    """

    def __init__(self, shape: ElasticShape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Parameter(torch.empty(shape.vocabulary, shape.hidden))
        self.positions = nn.Parameter(torch.empty(shape.n_positions, shape.hidden))
        self.norm = nn.Parameter(torch.zeros(len(shape.widths), 2, shape.hidden))
        self.blocks = nn.ModuleList(ElasticLayer(shape) for _ in range(shape.n_layers))

    def pooled_at_depths(
        self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]
    ) -> dict[int, Tensor]:
        """Return the pooled vectors of several depths, which are the inputs of their exits: depth -> (n, hidden)."""
        states_by_depth = self.states_at_depths(token_ids, mask, width, depths)
        return {depth: pooled(states, mask, self.shape.pooling) for depth, states in states_by_depth.items()}

    def states_at_depths(
        self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int], lower: LowerStates | None = None
    ) -> dict[int, Tensor]:
        """Return the hidden states of the last layer of several depths: depth -> (n, length, hidden).

        Args:
            token_ids: int64, (n, length), padded with any token.
            mask: bool, (n, length): True where there is a token.
            width: The width.
            depths: The depths.
            lower: States after the first layers, which are then not computed; None computes all layers.

        Raises:
            QueryError: There is no such subnet, or a depth does not have all of these first layers.
        """
        depths = sorted(set(depths))
        n_lower = 0 if lower is None else lower.n_layers
        for depth in depths:
            self.check_lower_layers(Subnet(width, depth), n_lower)
        padding_bias = padding_bias_of(mask)
        state, n_done = self.embedded(token_ids, width) if lower is None else lower.states, n_lower
        states = {}
        for depth in depths:
            first, others = self.layers_of(depth)
            state, n_done = self.run_layers(first[n_done:], state, padding_bias, width), max(n_done, len(first))
            states[depth] = self.run_layers(others[max(0, n_lower - len(first)) :], state, padding_bias, width)
        return states

    def lower_states(self, token_ids: Tensor, mask: Tensor, width: float, n_layers: int) -> LowerStates:
        """Return the hidden states after the first layers, from which `states_at_depths` goes on."""
        states = self.run_layers(range(n_layers), self.embedded(token_ids, width), padding_bias_of(mask), width)
        return LowerStates(states, n_layers)

    def check_lower_layers(self, subnet: Subnet, n_layers: int) -> None:
        """Check that there is a subnet, and that its first layers are the first ones of the model.

        Raises:
            QueryError: It is not so.
        """
        self.shape.check(subnet)
        first, others = self.layers_of(subnet.depth)
        if (first + others)[:n_layers] != tuple(range(n_layers)):
            raise QueryError(
                f"got subnet {subnet}, which has the layers {', '.join(map(str, first + others))}, expected one with "
                f"the first {n_layers} layers of the model: choose a greater depth, or fewer layers"
            )

    def layers_of(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the layers that a depth keeps, as (first ones, other ones); depths share their first ones."""
        return self.shape.layers_of(depth)

    def run_layers(self, layers: Sequence[int], states: Tensor, padding_bias: Tensor, width: float) -> Tensor:
        """Return the hidden states, (n, length, hidden), after some layers at a width.

        Args:
            layers: Numbers of the layers, in order.
            states: Hidden states before them.
            padding_bias: As `padding_bias_of` returns it.
            width: The width.
        """
        width_index = self.shape.widths.index(width)
        n_heads, n_neurons = round(self.shape.n_heads * width), round(self.shape.n_neurons * width)
        for layer in layers:
            states = self.blocks[layer](states, padding_bias, n_heads, n_neurons, width_index)
        return states

    @property
    def layers(self) -> list[ElasticLayer]:
        """The layers, first to last."""
        return [block for block in self.blocks if isinstance(block, ElasticLayer)]

    def token_vectors(self, token_ids: Tensor) -> Tensor:
        """Return the vectors of tokens before positions are added, (n, length, hidden)."""
        return F.embedding(token_ids, self.tokens)

    def embedded(self, token_ids: Tensor, width: float) -> Tensor:
        """Return the hidden states before the first layer, (n, length, hidden)."""
        embedded = self.token_vectors(token_ids) + self.positions[: token_ids.shape[1]]
        weight, bias = self.norm[self.shape.widths.index(width)]
        return F.layer_norm(embedded, embedded.shape[-1:], weight, bias, self.shape.norm_eps)


def padding_bias_of(mask: Tensor) -> Tensor:
    """Return what is added to attention scores, (n, 1, 1, length): 0 where the mask is true, else very low."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -1e9)[:, None, None]


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return the mean of the tokens of each sequence, or its first token (`cls`): (n, hidden)."""
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
