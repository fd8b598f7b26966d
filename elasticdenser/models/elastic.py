"""Elastic transformer encoder: many subnets, all with vectors in the space of the full encoder.

Each subnet of the trunk has an exit of its own, a projection of the pooled vector. Where there is a level 0, its vector
(the mean of a table's token vectors) is an input of every exit too: the table holds each token's share of the vector,
and the layers only have to learn the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.models.heads import ElasticHead
from elasticdenser.models.shape import ElasticShape
from elasticdenser.models.trunk import pooled
from elasticdenser.subnet import Subnet


class ElasticBert(ElasticHead):
    """Transformer encoder of many subnets; the subnet is an argument, so calls at different subnets may run at once.

    Its parameters have the names of the tensors in `elastic.safetensors`: `table` holds the token vectors of level 0.

    Args:
        shape: Its shape.
    """

    def __init__(self, shape: ElasticShape) -> None:
        super().__init__(shape)
        if shape.level0:
            n_cells = (len(shape.widths), len(shape.depths))
            self.table = nn.Parameter(torch.zeros(shape.vocabulary, shape.dim))
            self.shortcuts = nn.Parameter(torch.zeros(*n_cells, shape.dim, shape.dim))

    def at_depths(self, token_ids: Tensor, mask: Tensor, width: float, depths: Iterable[int]) -> dict[int, Tensor]:
        """Return the vectors of several depths of one width; see `ElasticHead.at_depths`."""
        vectors = super().at_depths(token_ids, mask, width, depths)
        if self.shape.level0:
            means = self.table_means(token_ids, mask)
            for depth in vectors:
                vectors[depth] = vectors[depth] + F.linear(means, self.shortcut_of(Subnet(width, depth)))
        return vectors

    def table_means(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return level 0's vectors, (n, dim): the means of the sequences' token vectors."""
        return pooled(F.embedding(token_ids, self.table), mask, "mean")

    def shortcut_of(self, subnet: Subnet) -> Tensor:
        """Return the weight of level 0's vector in the exit of a subnet, (dim, dim), as a view."""
        shortcut: Tensor = self.shortcuts[self.cell(subnet)]
        return shortcut
