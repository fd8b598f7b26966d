"""What a query costs: systems timed in turns, one query at a time, so that a busy moment hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from time import perf_counter

from ir_measures import ScoredDoc

Search = Callable[[Mapping[str, str], int], Iterable[ScoredDoc]]
"""Takes queries (id -> text) and how many hits each; returns the hits, query by query."""


def sampled(queries: Mapping[str, str], n: int) -> dict[str, str]:
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
    """Return each system's median time of one query alone, in milliseconds.

    Before the first round each system answers all queries once, unmeasured: files are read and kernels compiled.

    Args:
        systems: Name -> search.
        queries: Query id -> text; each is searched alone, in every round by every system in turn.
        k: Hits a query.
        rounds: How often.
        progress: Called with (done, of how many searches).
    """
    singles: Sequence[dict[str, str]] = [{query_id: text} for query_id, text in queries.items()]
    total = (rounds + 1) * len(singles) * len(systems)
    times: dict[str, list[float]] = {name: [] for name in systems}
    done = 0
    for number in range(rounds + 1):
        for name, search in systems.items():
            for query in singles:
                started = perf_counter()
                for _ in search(query, k):
                    pass
                if number:
                    times[name].append(perf_counter() - started)
            done += len(singles)
            if progress is not None:
                progress(done, total)
    return {name: 1000 * median(its) for name, its in times.items() if its}
