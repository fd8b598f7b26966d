"""Ranges of lengths for which the retention of subnets is measured."""

from __future__ import annotations

import pytest

from elasticdenser.training.retention_by_length import ranges


@pytest.mark.parametrize(
    ("counts", "max_tokens"),
    [
        # Tokens -> number of queries.
        ({4: 100, 9: 100, 16: 5, 40: 200}, [8, 16, 64]),
        ({4: 99, 9: 1}, [16]),  # too few: merged with the next range
        ({4: 150, 30: 99}, [32]),  # too few of the longest: the range before grows
        ({4: 150, 12: 120, 200: 3}, [8, 256]),
        ({3: 1}, [8]),
        ({600: 100, 700: 200}, [700]),
    ],
)
def test_ranges_have_enough_queries(counts, max_tokens):
    lengths = [tokens for tokens, n_queries in counts.items() for _ in range(n_queries)]
    range_of_query, found = ranges(lengths)
    assert found == max_tokens
    assert all(
        tokens <= max_tokens[number] and (number == 0 or tokens > max_tokens[number - 1])
        for tokens, number in zip(lengths, range_of_query, strict=True)
    )
