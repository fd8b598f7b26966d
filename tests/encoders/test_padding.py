"""Batches of padded sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.encoders.backends.padding import length_buckets, padded, pooled
from elasticdenser.models.poolings import POOLINGS


@pytest.mark.slow
@given(st.lists(st.integers(0, 300), max_size=60))
def test_buckets_hold_every_sequence_once_with_little_padding(lengths):
    buckets = length_buckets(lengths, "cpu")
    assert sorted(number for bucket in buckets for number in bucket) == [
        n for n, length in enumerate(lengths) if length
    ]
    for bucket in buckets:
        n_tokens = sum(lengths[number] for number in bucket)
        assert len(bucket) * max(lengths[number] for number in bucket) - n_tokens <= max(16, n_tokens / 8)


def test_a_gpu_has_fewer_buckets():
    lengths = list(range(1, 60))
    assert len(length_buckets(lengths, "cuda")) == 1 < len(length_buckets(lengths, "cpu"))


def expected_of(states: np.ndarray, pooling: str) -> np.ndarray:
    n = len(states)
    return {
        "mean": lambda: states.mean(axis=0),
        "cls": lambda: states[0],
        "max": lambda: states.max(axis=0),
        "mean_sqrt_len_tokens": lambda: states.sum(axis=0) / np.sqrt(n),
        "weightedmean": lambda: np.average(states, axis=0, weights=np.arange(1, n + 1)),
        "lasttoken": lambda: states[-1],
    }[pooling]()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_change_what_is_pooled(pooling):
    sequences = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    token_ids, mask = padded(sequences, 1)
    assert token_ids[1].tolist() == [8, 1, 1, 1, 1] and mask.sum(dim=1).tolist() == [3, 1, 5]
    states = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    vectors = pooled(states, mask, pooling).numpy()
    for row, sequence in enumerate(sequences):
        np.testing.assert_allclose(vectors[row], expected_of(states[row, : len(sequence)].numpy(), pooling), rtol=1e-5)
