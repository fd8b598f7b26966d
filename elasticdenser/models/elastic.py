"""The elastic transformer: one set of weights, many sizes, all answering in the space of the full encoder.

A size (width, depth) keeps the first heads and the first feed-forward neurons of every layer, and drops layers from
the middle: the first ones read the query, the last two make the vector. What a size has of its own are its layer norms
(one set a width) and its exit, a projection of the pooled vector; everything else is a view of the shared weights.
An exit may also be given what level 0 makes of the query, the mean of a table's token vectors: the table knows every
token's share of the vector, and the layers need only learn what is more than the sum of the tokens.
After ElasticLM (Zhang, Wang, Song: On Elastic Language Models) and DynaBERT (Hou et al. 2020), with exits for a vector
space instead of classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.models.shape import ElasticShape, layers_of
from elasticdenser.subnet import Subnet


class ElasticLayer(nn.Module):
    """One transformer layer whose first heads and neurons can be used alone.

    Args:
        shape: Of the model.
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

    def forward(self, hidden: Tensor, hide: Tensor, n_heads: int, n_neurons: int, width: int) -> Tensor:
        """Return the hidden states after this layer.

        Args:
            hidden: (n, length, hidden).
            hide: (n, 1, 1, length): added to the attention scores; 0 where there is a token, else very low.
            n_heads: How many heads are used.
            n_neurons: How many feed-forward neurons are used.
            width: Which layer norms.
        """
        n, length, size = hidden.shape
        weight, bias = self.qkv[:, :n_heads], self.qkv_bias[:, :n_heads]
        projected = F.linear(hidden, weight.reshape(-1, size), bias.reshape(-1))
        query, key, value = projected.view(n, length, 3, n_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        # Queries are short: plain products train twice to ten times as fast as the fused kernel.
        scores = query @ key.transpose(-1, -2) * self.head_dim**-0.5 + hide
        attended = scores.softmax(dim=-1) @ value
        joined = attended.transpose(1, 2).reshape(n, length, -1)
        mixed = F.linear(joined, self.out[:, :n_heads].reshape(size, -1), self.out_bias)
        hidden = self._normed(hidden + mixed, width, 0)
        neurons = _ACTIVATIONS[self._activation](F.linear(hidden, self.up[:n_neurons], self.up_bias[:n_neurons]))
        return self._normed(hidden + F.linear(neurons, self.down[:, :n_neurons], self.down_bias), width, 1)

    def _normed(self, hidden: Tensor, width: int, place: int) -> Tensor:
        weight, bias = self.norms[width, place]
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._eps)


class ElasticBert(nn.Module):
    """A transformer encoder of many sizes; the size is an argument, so calls at different sizes may run at once.

    Args:
        shape: What it is made of.
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
        """Return a vector for each sequence at one size.

        Args:
            token_ids: int64, (n, length), padded with anything.
            mask: bool, (n, length): True where there is a token.
            subnet: The size.

        Returns:
            (n, dim), not normalised.

        Raises:
            QueryError: There is no such size.
        """
        return self.at_depths(token_ids, mask, subnet.width, (subnet.depth,))[subnet.depth]

    def at_depths(self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]) -> dict[int, Tensor]:
        """Return the vectors of several depths of one width, computing the first layers, which they share, once.

        Args:
            token_ids: As in `forward`.
            mask: As in `forward`.
            width: Of all of them.
            depths: Which.

        Returns:
            Depth -> (n, dim), not normalised; from the lowest depth to the highest.

        Raises:
            QueryError: There is no such size.
        """
        found = self.pooled_at_depths(token_ids, mask, width, depths)
        vectors = {depth: F.linear(pooled, *self.exit_of(Subnet(width, depth))) for depth, pooled in found.items()}
        if self.shape.level0:
            means = self.table_means(token_ids, mask)
            for depth in vectors:
                vectors[depth] = vectors[depth] + F.linear(means, self.shortcut_of(Subnet(width, depth)))
        return vectors

    def pooled_at_depths(
        self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]
    ) -> dict[int, Tensor]:
        """Return what the exits of several depths are given: depth -> (n, hidden)."""
        depths = sorted(set(depths))
        for depth in depths:
            self.shape.check(Subnet(width, depth))
        at = self.shape.widths.index(width)
        n_heads, n_neurons = round(self.shape.n_heads * width), round(self.shape.n_neurons * width)
        hide = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -1e9)[:, None, None]

        def through(layers: Sequence[int], state: Tensor) -> Tensor:
            for layer in layers:
                state = self.blocks[layer](state, hide, n_heads, n_neurons, at)
            return state

        state, n_done = self._embedded(token_ids, at), 0
        pooled = {}
        for depth in depths:
            first, last = layers_of(depth, self.shape.n_layers)
            state, n_done = through(first[n_done:], state), max(n_done, len(first))
            pooled[depth] = _pooled(through(last, state), mask, self.shape.pooling)
        return pooled

    def table_means(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return what level 0 makes of the sequences: (n, dim), the means of their token vectors."""
        return _pooled(F.embedding(token_ids, self.table), mask, "mean")

    @property
    def layers(self) -> list[ElasticLayer]:
        """The layers, first to last."""
        return [block for block in self.blocks if isinstance(block, ElasticLayer)]

    def exit_of(self, subnet: Subnet) -> tuple[Tensor, Tensor]:
        """Return weight, (dim, hidden), and bias, (dim,), of the exit of a size, as views."""
        at = self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)
        return self.exits[at], self.exit_bias[at]

    def shortcut_of(self, subnet: Subnet) -> Tensor:
        """Return what the exit of a size multiplies level 0's vector by, (dim, dim), as a view."""
        shortcut: Tensor = self.shortcuts[self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)]
        return shortcut

    def _embedded(self, token_ids: Tensor, width: int) -> Tensor:
        embedded = F.embedding(token_ids, self.tokens) + self.positions[: token_ids.shape[1]]
        weight, bias = self.norm[width]
        return F.layer_norm(embedded, embedded.shape[-1:], weight, bias, self.shape.norm_eps)


_ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}


def _pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
