"""Elastic scorer: how well a passage answers a query, from both texts read together, at every subnet.

A pair is one sequence of token ids, made by `elasticdenser.rankers.pairs`.
"""

from __future__ import annotations

from elasticdenser.errors import QueryError
from elasticdenser.models.heads import ElasticPairHead
from elasticdenser.models.shape import ElasticShape


class ElasticScorer(ElasticPairHead):
    """Cross-encoder of many subnets (ElasticRanker); its outputs are scores, (n, 1), comparable for one query only.

    Its parameters have the names of the tensors in `ranker.safetensors`.

    Args:
        shape: Its shape, with `dim` 1 and no level 0.

    Raises:
        QueryError: The shape has more outputs than one, or a level 0.
    """

    def __init__(self, shape: ElasticShape) -> None:
        if shape.dim != 1 or shape.level0:
            raise QueryError(f"got dim = {shape.dim} and level0 = {shape.level0}, expected dim = 1 and no level 0")
        super().__init__(shape)
