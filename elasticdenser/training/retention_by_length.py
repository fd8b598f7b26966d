"""Retention of the subnets by the length of the query, over the queries of all dev sets together.

The engine keeps a promised quality with it: a small subnet loses more on a pasted paragraph than on a typed question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.token_table import TokenTable
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import LEVEL_0, Subnet
from elasticdenser.training.batches import token_ids_of
from elasticdenser.training.dev_sets import DevSet, level0_vectors, subnet_vectors
from elasticdenser.training.teacher import Teacher

_MAX_TOKENS = (8, 16, 32, 64, 128, 256, 512)
"""Largest number of tokens of each range of lengths, special tokens included."""

_MIN_QUERIES = 100
"""A range with fewer queries is merged with the next: its retention would be mostly noise."""


def measure_by_length(
    model: ElasticBert,
    subnets: Sequence[Subnet],
    dev_sets: Sequence[DevSet],
    encoder: ElasticQueryEncoder,
    *,
    teacher: Teacher | None = None,
    progress: Progress = silent,
) -> dict[str, dict[int, float]]:
    """Return the retention of subnets, and of level 0 if there is one, in each range of lengths.

    It is the sum of the measures of all queries in the range as a share of the full encoder's: no mean over dev sets,
    since most have few queries of some lengths.

    Args:
        model: The model, with the weights to measure.
        subnets: The subnets to measure.
        dev_sets: The dev sets.
        encoder: The encoder that is trained, which reads the queries.
        teacher: The full encoder, of which measures are shares; None is `encoder`.
        progress: Called with (activity, done, total).

    Returns:
        Subnet -> largest number of tokens of the range -> retention; as `models.manifest.retention_by_length_of`.
        A range on which the full encoder finds nothing is left out.
    """
    sequences = [token_ids_of(encoder, dev.texts) for dev in dev_sets]
    range_of_query, max_tokens = ranges([len(token_ids) for token_ids in chain.from_iterable(sequences)])
    full = np.concatenate([dev.values((teacher or encoder).encode(dev.texts)) for dev in dev_sets])
    full_sums = _sums(full, range_of_query, len(max_tokens))
    return {
        name: {
            tokens: float(value / full_value)
            for tokens, value, full_value in zip(
                max_tokens, _sums(values, range_of_query, len(max_tokens)), full_sums, strict=True
            )
            if full_value > 0
        }
        for name, values in _values_by_subnet(model, subnets, dev_sets, sequences, progress)
    }


def ranges(lengths: Sequence[int]) -> tuple[NDArray[np.int64], list[int]]:
    """Return the range of each length, and the largest length of each range.

    Args:
        lengths: Tokens of the queries.
    """
    bounds = [bound for bound in _MAX_TOKENS if bound < max(lengths)]
    bounds.append(next((bound for bound in _MAX_TOKENS if bound >= max(lengths)), max(lengths)))
    counts = Counter(int(number) for number in np.searchsorted(bounds, lengths))
    merged, n_queries = [], 0
    for number, bound in enumerate(bounds):
        n_queries += counts[number]
        if n_queries >= _MIN_QUERIES:
            merged.append(bound)
            n_queries = 0
    if n_queries or not merged:  # too few of the longest: they join the range before
        merged = [*merged[:-1], bounds[-1]]
    return np.searchsorted(merged, lengths), merged


def _values_by_subnet(
    model: ElasticBert,
    subnets: Sequence[Subnet],
    dev_sets: Sequence[DevSet],
    sequences: Sequence[list[list[int]]],
    progress: Progress,
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield each subnet's name with its measure of every query of all dev sets."""
    by_subnet: dict[str, list[NDArray[np.float64]]] = {}
    for done, (dev, token_ids) in enumerate(zip(dev_sets, sequences, strict=True)):
        progress("Measuring by length", done, len(dev_sets))
        for name, vectors in subnet_vectors(model, subnets, token_ids):
            by_subnet.setdefault(name, []).append(dev.values(vectors))
        if model.shape.level0:
            values = dev.values(level0_vectors(TokenTable(model.table), token_ids))
            by_subnet.setdefault(str(LEVEL_0), []).append(values)
    progress("Measuring by length", len(dev_sets), len(dev_sets))
    for name, of_dev_sets in by_subnet.items():
        yield name, np.concatenate(of_dev_sets)


def _sums(values: NDArray[np.float64], range_of_query: NDArray[np.int64], n_ranges: int) -> NDArray[np.float64]:
    return np.bincount(range_of_query, weights=values, minlength=n_ranges).astype(np.float64)
