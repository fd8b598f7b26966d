"""Time per query: systems are timed in turns, one query at a time, so that a busy moment affects all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter

from ir_measures import ScoredDoc

Search = Callable[[Mapping[str, str], int], Iterable[ScoredDoc]]
"""Takes queries (id -> text) and the number of hits per query; returns the hits, query by query."""


def evenly_sampled(queries: Mapping[str, str], n: int) -> dict[str, str]:
    """Return `n` of the queries, evenly spread over all of them."""
    ids = list(queries)
    step = max(1, len(ids) // max(1, n))
    return {query_id: queries[query_id] for query_id in ids[::step][:n]}


def time_systems(
    systems: Mapping[str, Search],
    queries: Mapping[str, str],
    *,
    k: int = 100,
    rounds: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return the median time of a single query of each system, in milliseconds.

    Before the first round each system answers all queries once, unmeasured, to read files and compile kernels.

    Args:
        systems: Name -> search.
        queries: Query id -> text; each is searched alone, in every round by every system in turn.
        k: Hits per query.
        rounds: Number of measured rounds.
        progress: Called with the number of searches done and the number of all searches.
    """
    single_queries: Sequence[dict[str, str]] = [{query_id: text} for query_id, text in queries.items()]
    n_searches = (rounds + 1) * len(single_queries) * len(systems)
    times_s: dict[str, list[float]] = {name: [] for name in systems}
    n_done = 0
    for round_number in range(rounds + 1):
        is_measured = round_number > 0
        for name, search in systems.items():
            for query in single_queries:
                started = perf_counter()
                for _ in search(query, k):
                    pass
                if is_measured:
                    times_s[name].append(perf_counter() - started)
            n_done += len(single_queries)
            if progress is not None:
                progress(n_done, n_searches)
    return {name: 1000 * median(system_times_s) for name, system_times_s in times_s.items() if system_times_s}
