"""Run times of levels: batches of usual queries, and single queries of several lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from statistics import median
from typing import TYPE_CHECKING

from elasticdenser.engine.profiling.query_sample import text_of_length
from elasticdenser.engine.profiling.timing import time_in_turns
from elasticdenser.engine.request import Query
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
    from elasticdenser.engine.batch_search import BatchSearch

_Case = tuple[str, int, int]
"""Level, batch size, and tokens of a query that is timed alone; 0 tokens for a batch of the given queries."""


@dataclass(frozen=True, kw_only=True)
class LevelTimes:
    """Run times of a level.

    Args:
        measured_s: As for `Level`.
        slowest_s: The longest run time by batch size.
        alone_by_tokens_s: As for `Level`.
    """

    measured_s: Mapping[int, float]
    slowest_s: Mapping[int, float]
    alone_by_tokens_s: Mapping[int, float]


def time_levels(
    search: BatchSearch,
    queries: Sequence[str],
    batch_sizes: Mapping[str, Sequence[int]],
    by_length: Mapping[int, str],
    *,
    k: int,
    rounds: int,
    progress: Progress,
) -> dict[str, LevelTimes]:
    """Return the run times of levels, in batches and alone.

    Args:
        search: Searches at the levels.
        queries: Usual queries.
        batch_sizes: Level -> batch sizes.
        by_length: Tokens -> query of that length.
        k: Number of hits.
        rounds: Number of times that each case is timed.
        progress: Called with (activity, done, total).
    """

    def run_batch(number: int, name: str, size: int) -> None:
        start = number * size % len(queries)
        texts = islice(cycle(queries), start, start + size)
        search.search_batch([Query(text=text, k=k) for text in texts], name)

    def run_alone(_: int, name: str, text: str) -> None:
        search.search_batch([Query(text=text, k=k)], name)

    cases: dict[_Case, Callable[[int], object]] = {}
    for name, sizes in batch_sizes.items():
        cases |= {(name, size, 0): partial(run_batch, name=name, size=size) for size in sizes}
        cases |= {(name, 1, tokens): partial(run_alone, name=name, text=text) for tokens, text in by_length.items()}
    times = time_in_turns(cases, rounds, progress, "Measuring levels")
    return {
        name: LevelTimes(
            measured_s={size: median(times[name, size, 0]) for size in sizes},
            slowest_s={size: max(times[name, size, 0]) for size in sizes},
            alone_by_tokens_s={tokens: median(times[name, 1, tokens]) for tokens in by_length},
        )
        for name, sizes in batch_sizes.items()
    }


def texts_to_time(encoder: ElasticQueryEncoder, queries: Sequence[str], tokens: Sequence[int]) -> dict[int, str]:
    """Return a query of each length in tokens, at most the encoder's limit."""
    lengths = sorted({min(n, encoder.settings.max_length) for n in tokens})
    return {n: text_of_length(encoder, queries, n) for n in lengths}


@contextmanager
def without_cache(encoder: ElasticQueryEncoder) -> Iterator[None]:
    """Encode every query, also one that was encoded before."""
    cache, encoder.cache = encoder.cache, None
    try:
        yield
    finally:
        encoder.cache = cache
