"""Weights of a query's tokens, fitted to judged queries."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from kernel_helpers import needs_fast_path

from elasticdenser.encoders.token_encoder import TokenVectors
from elasticdenser.models.activation_files import encode_rows
from elasticdenser.rankers.late_interaction_files import QueryProjection
from elasticdenser.rankers.query_tokens import query_encoder_at
from elasticdenser.rankers.token_rows import STORED, PassageRows, passage_scores
from elasticdenser.subnet import Subnet
from elasticdenser.training.late_interaction.token_weights import fitted_token_weights

pytestmark = needs_fast_path

SUBNET, N_TOKENS, COMMON = Subnet(1.0, 1), 8, 0
PASSAGES = [[1], [2], [3], [4], [COMMON, 5], [COMMON, 6]]
"""The common token is in passages that no query asks for."""


class OneHotEncoder:
    """Encoder that gives each token a direction of its own, and all texts the same vector."""

    def state_dim(self, subnet):
        return N_TOKENS

    def states(self, subnet, sequences):
        return np.eye(N_TOKENS, dtype=np.float32)[np.concatenate(sequences)]

    def projector(self, subnet, weight, bias):
        texts = np.full((1, 4), 0.5, np.float32)
        return lambda sequences: TokenVectors(
            self.states(subnet, sequences) @ weight.T + bias, texts.repeat(len(sequences), axis=0)
        )


def judged_lists(encoder, labels):
    """Return queries of the common token and one other, and as candidates all passages."""
    rows = PassageRows(encoder.projector(SUBNET, np.eye(N_TOKENS), np.zeros(N_TOKENS)), N_TOKENS, 4)
    stored = [encode_rows(rows.encode([passage]), STORED) for passage in PASSAGES]
    queries = [[COMMON, word] for word in range(1, 5)]
    return SimpleNamespace(queries=queries, labels=labels, passages_of=lambda number: rows.parted(stored))


@pytest.fixture
def alike():
    zeros = np.zeros(N_TOKENS, np.float32)
    return QueryProjection(weight=np.eye(N_TOKENS, dtype=np.float32), bias=zeros, token_weight=zeros, vector_weight=0.5)


@pytest.mark.slow
def test_a_token_that_finds_itself_in_other_passages_weighs_less(alike):
    encoder = OneHotEncoder()
    lists = judged_lists(encoder, [np.arange(len(PASSAGES)) == number for number in range(4)])
    fitted = fitted_token_weights(encoder, SUBNET, alike, lists, penalty=0.01)
    assert np.array_equal(fitted.weight, alike.weight) and fitted.vector_weight >= 0
    for number, query in enumerate(lists.queries):
        before, after = (query_encoder_at(encoder, SUBNET, own)(query) for own in (alike, fitted))
        assert np.allclose(before.weights, 0.5)
        assert after.weights[0] < 0.495 and after.weights.sum() == pytest.approx(1)
        scores = passage_scores(after, lists.passages_of(number))
        assert scores.argmax() == number
        assert np.ptp(passage_scores(before, lists.passages_of(number))[[number, 4, 5]]) < 1e-5
    weaker = fitted_token_weights(encoder, SUBNET, alike, lists, penalty=10.0)
    assert np.abs(weaker.token_weight).max() < np.abs(fitted.token_weight).max() / 4


@pytest.mark.parametrize("is_relevant", [True, False])
def test_queries_without_two_kinds_of_candidates_teach_nothing(alike, is_relevant):
    lists = judged_lists(OneHotEncoder(), [np.full(len(PASSAGES), is_relevant)] * 4)
    assert fitted_token_weights(OneHotEncoder(), SUBNET, alike, lists, penalty=0.1) is alike
