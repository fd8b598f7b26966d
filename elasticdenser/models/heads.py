"""Heads of the elastic transformers: a linear exit for each subnet."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.errors import QueryError
from elasticdenser.models.shape import ElasticShape
from elasticdenser.models.trunk import ElasticTrunk
from elasticdenser.subnet import Subnet


class ElasticHead(ElasticTrunk):
    """Elastic trunk with exits: a projection of the pooled vector to `shape.dim` numbers for each subnet.

    What the numbers are, a subclass says: a vector (`ElasticBert`), a score (`ElasticScorer`), or logits of classes
    (`ElasticLogits`). Parameters are named as the tensors on disk, without a prefix for trunk or head.

    Args:
        shape: Its shape.
    """

    def __init__(self, shape: ElasticShape) -> None:
        super().__init__(shape)
        n_cells = (len(shape.widths), len(shape.depths))
        self.exits = nn.Parameter(torch.zeros(*n_cells, shape.dim, shape.hidden))
        self.exit_bias = nn.Parameter(torch.zeros(*n_cells, shape.dim))

    def forward(self, token_ids: Tensor, mask: Tensor, subnet: Subnet) -> Tensor:
        """Return the output of one subnet for each sequence.

        Args:
            token_ids: int64, (n, length), padded with any token.
            mask: bool, (n, length): True where there is a token.
            subnet: The subnet.

        Returns:
            (n, dim); vectors are not normalised.

        Raises:
            QueryError: There is no such subnet.
        """
        return self.at_depths(token_ids, mask, subnet.width, (subnet.depth,))[subnet.depth]

    def at_depths(self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]) -> dict[int, Tensor]:
        """Return the outputs of several depths of one width; the first layers, which they share, are computed once.

        Args:
            token_ids: As in `forward`.
            mask: As in `forward`.
            width: The width.
            depths: The depths.

        Returns:
            Depth -> (n, dim), from the lowest depth to the highest; vectors are not normalised.

        Raises:
            QueryError: There is no such subnet.
        """
        pooled_by_depth = self.pooled_at_depths(token_ids, mask, width, depths)
        return {
            depth: F.linear(pooled, *self.exit_of(Subnet(width, depth))) for depth, pooled in pooled_by_depth.items()
        }

    def exit_of(self, subnet: Subnet) -> tuple[Tensor, Tensor]:
        """Return weight, (dim, hidden), and bias, (dim,), of the exit of a subnet, as views."""
        cell = self.cell(subnet)
        return self.exits[cell], self.exit_bias[cell]

    def cell(self, subnet: Subnet) -> tuple[int, int]:
        """Return the indices of a subnet's width and depth in the grid."""
        return self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)


class ElasticPairHead(ElasticHead):
    """Elastic head over pairs of texts read together, or single texts.

    Token ids of the second text are raised by the size of the vocabulary, which stands for the token type: no other
    array has to accompany the ids. The parameter `segment` is added to the vectors of these tokens: the difference of
    the two token types of the checkpoint.

    Args:
        shape: Its shape, without a level 0.

    Raises:
        QueryError: The shape has a level 0.
    """

    def __init__(self, shape: ElasticShape) -> None:
        if shape.level0:
            raise QueryError("got level0 = True, expected a shape without level 0 for a head over pairs")
        super().__init__(shape)
        self.segment = nn.Parameter(torch.zeros(shape.hidden))

    def token_vectors(self, token_ids: Tensor) -> Tensor:
        """Return the vectors of tokens, with those of the token types, (n, length, hidden)."""
        is_second = token_ids >= self.shape.vocabulary
        vectors = F.embedding(token_ids - is_second * self.shape.vocabulary, self.tokens)
        return vectors + is_second.unsqueeze(-1) * self.segment
