"""Tokens of a query as late interaction compares them: their vectors, and how much each counts.

The weight of a token follows from its state, so that it depends on the query: words that tell relevant passages from
others count more (compare the term weights of DeepCT, Dai and Callan, SIGIR 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from elasticdenser.arrays import Floats
from elasticdenser.encoders.token_encoder import TokenEncoder
from elasticdenser.rankers.late_interaction_files import QueryProjection
from elasticdenser.subnet import Subnet

WEIGHT_OFFSET = float(np.log(np.e - 1))
"""Added to the logit of a token, so that one of 0 gives a weight of 1."""


class QueryTokens(NamedTuple):
    """A query.

    Args:
        vectors: Vectors of the tokens, float32, (n_tokens, dim).
        weights: Weights of the tokens, float32, (n_tokens,); they add up to 1.
        text: Vector of the query, float32, (vector_dim,), L2-normalised.
        vector_weight: As in `QueryProjection`.
    """

    vectors: Floats
    weights: Floats
    text: Floats
    vector_weight: float


EncodeQuery = Callable[[Sequence[int]], QueryTokens]
"""Encodes a query, given by its token ids with special tokens."""


def query_encoder_at(encoder: TokenEncoder, subnet: Subnet, projection: QueryProjection) -> EncodeQuery:
    """Return the function that encodes queries at a subnet.

    Args:
        encoder: The encoder.
        subnet: One of its subnets.
        projection: Projection of the states that the subnet gives tokens.
    """
    # The logits of the weights are one more direction of the projection.
    directions = np.concatenate([projection.weight, projection.token_weight[None]])
    project = encoder.projector(subnet, directions, np.append(projection.bias, np.float32(WEIGHT_OFFSET)))

    def encode(query: Sequence[int]) -> QueryTokens:
        tokens, texts = project([query])
        softplus = np.logaddexp(tokens[:, -1], np.float32(0))
        weights = np.maximum(softplus, np.float32(1e-30))  # so that not all are 0
        vectors = np.ascontiguousarray(tokens[:, :-1])
        return QueryTokens(vectors, weights / weights.sum(), texts[0], projection.vector_weight)

    return encode
