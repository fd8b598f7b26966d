"""Measurement of searches with filters: recall and time by the share of the passages that match."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import TypedDict

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.engine.profiling.timing import time_in_turns
from elasticdenser.index.metadata.matches import IndexMatches
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.progress import Progress, silent

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
"""Shares of matching passages that are measured."""

_TOLERANCE = 1e-5
"""Passages whose scores differ by less from that of the last hit count as hits: there may be copies."""


class FilterFigures(TypedDict):
    """Figures of filters that as many passages meet.

    Attributes:
        share: Share of the passages that match.
        n_matching: Their number.
        recall: Recall of the hits against an exact search among them.
        alone_s: Median time of the search for a single query.
        relative_time: The same, divided by the time without a filter.
    """

    share: float
    n_matching: int
    recall: float
    alone_s: float
    relative_time: float


def measure_filters(
    index: PassageIndex,
    queries: Vectors,
    *,
    k: int = 10,
    rounds: int = 5,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    progress: Progress = silent,
) -> list[FilterFigures]:
    """Measure filters that passages meet by chance, at the greatest search effort and for single queries.

    The planner knows nothing of a filter but which passages meet it, so that filters on metadata take as long, unless
    they are related to the queries. The time in which a filter is evaluated, once, is not included.

    Args:
        index: The index, with metadata or without.
        queries: float32, (n_queries, dim).
        k: Number of hits.
        rounds: Number of times that each case is timed.
        shares: Shares of the passages that match; shares of which no passage is left are left out.
        seed: Seed of the choice of passages.
        progress: Called with (activity, done, total).
    """
    order = np.random.default_rng(seed).permutation(len(index))
    matches: dict[float | None, IndexMatches | None] = {None: None}
    for share in shares:
        if chosen := round(share * len(index)):
            matches[share] = index.matches_of(np.isin(np.arange(len(index)), order[:chosen]))

    def search_all(_: int, own: IndexMatches | None) -> None:
        for query in queries:
            index.search(query[None], k, filter=own)

    cases = {share: partial(search_all, own=own) for share, own in matches.items()}
    times = time_in_turns(cases, rounds, progress, "Measuring filters")
    unfiltered_s = median(times[None])
    return [
        FilterFigures(
            share=share,
            n_matching=own.n,
            recall=_recall(index, queries, k, own),
            alone_s=median(times[share]) / len(queries),
            relative_time=median(times[share]) / unfiltered_s,
        )
        for share, own in matches.items()
        if share is not None and own is not None
    ]


def _recall(index: PassageIndex, queries: Vectors, k: int, own: IndexMatches) -> float:
    exact = index.search(queries, k, filter=own, exact=True)[0]
    found = index.search(queries, k, filter=own)[0]
    return round(float((found >= exact[:, -1:] - _TOLERANCE).mean()), 4)
