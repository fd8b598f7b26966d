"""Weights of a query's tokens, and of the texts' vectors, fitted to judged queries.

What a token finds in a passage does not depend on these weights, so it is computed once; then a few hundred numbers are
fitted by gradients within seconds. The loss is the cross-entropy of the relevant passages among the candidates of a
query (ListNet's top one, Cao et al., ICML 2007).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.encoders.token_encoder import TokenEncoder
from elasticdenser.rankers.late_interaction_files import QueryProjection
from elasticdenser.rankers.query_tokens import WEIGHT_OFFSET, query_encoder_at
from elasticdenser.rankers.token_rows import closest_tokens, text_cosines
from elasticdenser.subnet import Subnet
from elasticdenser.training.late_interaction.judged import JudgedLists

_FIRST_SCALE = 20.0
"""Inverse temperature of the scores that the fit starts from."""

_ITERATIONS = 60


class _Lists(NamedTuple):
    """Judged lists as tensors; queries whose candidates are all relevant, or none of them, are left out.

    Args:
        states: States of the tokens of all queries end to end, (n_tokens, n).
        query_of: Number of each token's query, (n_tokens,).
        closest: Highest cosine of each token to one of each candidate, (n_tokens, n_candidates).
        cosines: Cosines of the texts' vectors, (n_queries, n_candidates).
        absent: Whether there is no such candidate, (n_queries, n_candidates).
        targets: Share of each candidate in the relevant ones, (n_queries, n_candidates).
    """

    states: Tensor
    query_of: Tensor
    closest: Tensor
    cosines: Tensor
    absent: Tensor
    targets: Tensor


def fitted_token_weights(
    encoder: TokenEncoder, subnet: Subnet, projection: QueryProjection, lists: JudgedLists, penalty: float
) -> QueryProjection:
    """Return the projection of a subnet with weights of tokens, and of the texts' vectors, that suit judged queries.

    Args:
        encoder: The encoder.
        subnet: The subnet.
        projection: Its projection.
        lists: The judged queries; those without both relevant and other candidates count nothing.
        penalty: As `token_penalty` of the recipe.
    """
    data = _lists(encoder, subnet, projection, lists)
    if not len(data.cosines):
        return projection
    token_weight = torch.zeros(data.states.shape[1], requires_grad=True)
    vector_weight = torch.tensor(projection.vector_weight, requires_grad=True)
    log_scale = torch.tensor(_FIRST_SCALE).log().requires_grad_()
    parameters = [token_weight, vector_weight, log_scale]
    optimizer = torch.optim.LBFGS(parameters, max_iter=_ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        logits = data.states @ token_weight
        weights = F.softplus(logits + WEIGHT_OFFSET)
        totals = torch.zeros(len(data.cosines)).index_add(0, data.query_of, weights)
        found = torch.zeros_like(data.cosines).index_add(0, data.query_of, weights[:, None] * data.closest)
        scores = (found / totals[:, None] + vector_weight.clamp_min(0) * data.cosines) * log_scale.exp()
        log_shares = scores.masked_fill(data.absent, -torch.inf).log_softmax(dim=1)
        entropy = -(data.targets * log_shares.masked_fill(data.absent, 0)).sum(dim=1).mean()
        return entropy + penalty * logits.square().mean()

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(step)  # type: ignore[no-untyped-call]
    return replace(
        projection,
        token_weight=token_weight.detach().numpy(),
        vector_weight=float(vector_weight.detach().clamp_min(0)),
    )


def _lists(encoder: TokenEncoder, subnet: Subnet, projection: QueryProjection, lists: JudgedLists) -> _Lists:
    """Return what a subnet finds in the candidates of judged queries."""
    encode = query_encoder_at(encoder, subnet, projection)
    used = [number for number, labels in enumerate(lists.labels) if labels.any() and not labels.all()]
    n_candidates = max((len(lists.labels[number]) for number in used), default=0)
    shape = len(used), n_candidates
    cosines, targets = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    absent = np.ones(shape, np.bool_)
    closest = [np.zeros((0, n_candidates), np.float32)]
    for row, number in enumerate(used):
        query, passages, labels = encode(lists.queries[number]), lists.passages_of(number), lists.labels[number]
        cosines[row, : len(labels)] = text_cosines(query, passages)
        targets[row, : len(labels)] = labels / labels.sum()
        absent[row, : len(labels)] = False
        found = closest_tokens(query, passages).T
        closest.append(np.pad(found, ((0, 0), (0, n_candidates - len(labels)))))
    sequences = [lists.queries[number] for number in used]
    nothing = np.zeros((0, encoder.state_dim(subnet)), np.float32)
    states = np.concatenate([nothing, *(encoder.states(subnet, [sequence]) for sequence in sequences)])
    query_of = np.repeat(np.arange(len(used)), list(map(len, sequences)))
    arrays = states, query_of, np.concatenate(closest), cosines, absent, targets
    return _Lists(*map(torch.from_numpy, arrays))
