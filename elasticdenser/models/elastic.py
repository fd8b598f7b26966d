"""Elastic transformer: one set of weights, many subnets, all with vectors in the space of the full encoder.

A subnet (width, depth) keeps the first heads and the first feed-forward neurons of every layer, and drops layers from
the middle: the first layers read the query, the last two make the vector. Each width has layer norms of its own and
each subnet an exit of its own, a projection of the pooled vector; all other weights are shared by all subnets.
Where there is a level 0, its vector (the mean of a table's token vectors) is an input of every exit too: the table
holds each token's share of the vector, and the layers only have to learn the rest.

After ElasticLM (Zhang, Wang, Song: On Elastic Language Models) and DynaBERT (Hou et al. 2020), with exits into a vector
space instead of classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.models.layers import ACTIVATIONS
from elasticdenser.models.shape import ElasticShape, layers_of
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
        self._activation, self._eps = shape.activation, shape.norm_eps

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
        attended = scores.softmax(dim=-1) @ value
        joined = attended.transpose(1, 2).reshape(n, length, -1)
        mixed = F.linear(joined, self.out[:, :n_heads].reshape(hidden_size, -1), self.out_bias)
        hidden = self._normed(hidden + mixed, width_index, 0)
        neurons = ACTIVATIONS[self._activation](F.linear(hidden, self.up[:n_neurons], self.up_bias[:n_neurons]))
        return self._normed(hidden + F.linear(neurons, self.down[:, :n_neurons], self.down_bias), width_index, 1)

    def _normed(self, hidden: Tensor, width_index: int, norm_index: int) -> Tensor:
        weight, bias = self.norms[width_index, norm_index]
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._eps)


class ElasticBert(nn.Module):
    """Transformer encoder of many subnets; the subnet is an argument, so calls at different subnets may run at once.

    Its parameters have the names of the tensors in `elastic.safetensors`: `table` holds the token vectors of level 0.

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
        n_cells = (len(shape.widths), len(shape.depths))
        self.exits = nn.Parameter(torch.zeros(*n_cells, shape.dim, shape.hidden))
        self.exit_bias = nn.Parameter(torch.zeros(*n_cells, shape.dim))
        if shape.level0:
            self.table = nn.Parameter(torch.zeros(shape.vocabulary, shape.dim))
            self.shortcuts = nn.Parameter(torch.zeros(*n_cells, shape.dim, shape.dim))

    def forward(self, token_ids: Tensor, mask: Tensor, subnet: Subnet) -> Tensor:
        """Return a vector for each sequence at one subnet.

        Args:
            token_ids: int64, (n, length), padded with any token.
            mask: bool, (n, length): True where there is a token.
            subnet: The subnet.

        Returns:
            (n, dim), not normalised.

        Raises:
            QueryError: There is no such subnet.
        """
        return self.at_depths(token_ids, mask, subnet.width, (subnet.depth,))[subnet.depth]

    def at_depths(self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]) -> dict[int, Tensor]:
        """Return the vectors of several depths of one width; the first layers, which they share, are computed once.

        Args:
            token_ids: As in `forward`.
            mask: As in `forward`.
            width: The width.
            depths: The depths.

        Returns:
            Depth -> (n, dim), not normalised; from the lowest depth to the highest.

        Raises:
            QueryError: There is no such subnet.
        """
        pooled_by_depth = self.pooled_at_depths(token_ids, mask, width, depths)
        vectors = {
            depth: F.linear(pooled, *self.exit_of(Subnet(width, depth))) for depth, pooled in pooled_by_depth.items()
        }
        if self.shape.level0:
            means = self.table_means(token_ids, mask)
            for depth in vectors:
                vectors[depth] = vectors[depth] + F.linear(means, self.shortcut_of(Subnet(width, depth)))
        return vectors

    def pooled_at_depths(
        self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]
    ) -> dict[int, Tensor]:
        """Return the pooled vectors of several depths, which are the inputs of their exits: depth -> (n, hidden)."""
        states_by_depth = self.states_at_depths(token_ids, mask, width, depths)
        return {depth: _pooled(states, mask, self.shape.pooling) for depth, states in states_by_depth.items()}

    def states_at_depths(
        self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]
    ) -> dict[int, Tensor]:
        """Return the hidden states of the last layer of several depths: depth -> (n, length, hidden)."""
        depths = sorted(set(depths))
        for depth in depths:
            self.shape.check(Subnet(width, depth))
        width_index = self.shape.widths.index(width)
        n_heads, n_neurons = round(self.shape.n_heads * width), round(self.shape.n_neurons * width)
        padding_bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -1e9)[:, None, None]

        def run_layers(layers: Sequence[int], state: Tensor) -> Tensor:
            for layer in layers:
                state = self.blocks[layer](state, padding_bias, n_heads, n_neurons, width_index)
            return state

        state, n_done = self._embedded(token_ids, width_index), 0
        states = {}
        for depth in depths:
            first, last = layers_of(depth, self.shape.n_layers)
            state, n_done = run_layers(first[n_done:], state), max(n_done, len(first))
            states[depth] = run_layers(last, state)
        return states

    def table_means(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return level 0's vectors, (n, dim): the means of the sequences' token vectors."""
        return _pooled(F.embedding(token_ids, self.table), mask, "mean")

    @property
    def layers(self) -> list[ElasticLayer]:
        """The layers, first to last."""
        return [block for block in self.blocks if isinstance(block, ElasticLayer)]

    def exit_of(self, subnet: Subnet) -> tuple[Tensor, Tensor]:
        """Return weight, (dim, hidden), and bias, (dim,), of the exit of a subnet, as views."""
        cell = self._cell(subnet)
        return self.exits[cell], self.exit_bias[cell]

    def shortcut_of(self, subnet: Subnet) -> Tensor:
        """Return the weight of level 0's vector in the exit of a subnet, (dim, dim), as a view."""
        shortcut: Tensor = self.shortcuts[self._cell(subnet)]
        return shortcut

    def _cell(self, subnet: Subnet) -> tuple[int, int]:
        return self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)

    def _embedded(self, token_ids: Tensor, width_index: int) -> Tensor:
        embedded = F.embedding(token_ids, self.tokens) + self.positions[: token_ids.shape[1]]
        weight, bias = self.norm[width_index]
        return F.layer_norm(embedded, embedded.shape[-1:], weight, bias, self.shape.norm_eps)


def _pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
