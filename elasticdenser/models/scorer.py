"""Elastic scorer: how well a passage answers a query, from both texts read together, at every subnet.

A pair is one sequence of token ids, made by `elasticdenser.rankers.pairs`. The ids of its second part are raised by the
size of the vocabulary, which stands for the token type: no other array has to accompany the ids.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.errors import QueryError
from elasticdenser.models.heads import ElasticHead
from elasticdenser.models.shape import ElasticShape


class ElasticScorer(ElasticHead):
    """Cross-encoder of many subnets (ElasticRanker); its outputs are scores, (n, 1), comparable for one query only.

    Its parameters have the names of the tensors in `ranker.safetensors`: `segment` is added to the vectors of the
    tokens of a pair's second part. It is the difference of the two token types of the checkpoint.

    Args:
        shape: Its shape, with `dim` 1 and no level 0.

    Raises:
        QueryError: The shape has more outputs than one, or a level 0.
    """

    def __init__(self, shape: ElasticShape) -> None:
        if shape.dim != 1 or shape.level0:
            raise QueryError(f"got dim = {shape.dim} and level0 = {shape.level0}, expected dim = 1 and no level 0")
        super().__init__(shape)
        self.segment = nn.Parameter(torch.zeros(shape.hidden))

    def token_vectors(self, token_ids: Tensor) -> Tensor:
        """Return the vectors of tokens, with those of the token types, (n, length, hidden)."""
        is_second = token_ids >= self.shape.vocabulary
        vectors = F.embedding(token_ids - is_second * self.shape.vocabulary, self.tokens)
        return vectors + is_second.unsqueeze(-1) * self.segment
