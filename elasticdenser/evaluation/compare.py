"""Evaluation of any systems on any query sets, with significance, as one `Comparison`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.evaluation.cells import evaluate_systems
from elasticdenser.evaluation.comparison import Cell, Comparison, Skipped, SystemInfo
from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.evaluation.significance import check_significance, differences_of, intervals_of
from elasticdenser.evaluation.systems import System
from elasticdenser.evaluation.timing import Search
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress, silent


def compare(
    query_sets: QuerySet | Iterable[QuerySet],
    systems: Mapping[str, Search] | Iterable[System],
    *,
    baseline: str | None = None,
    title: str = "Evaluation",
    folder: str | Path | None = None,
    timed_queries: int = 50,
    progress: Progress | None = None,
) -> Comparison:
    """Evaluate systems on query sets.

        nq = QuerySet(name="nq", queries=..., qrels=..., measures=["nDCG@10", "R@100"])
        comparison = compare(nq, {"dense": retriever.search, "bm25": bm25.search})
        print(comparison.cell("nq", "bm25").mean("nDCG@10"))
        print(comparison.difference("nq", "bm25", "nDCG@10").p_holm)

    Args:
        query_sets: The queries with their judgements.
        systems: Name -> search (takes queries and k), or `System`s. Every system searches every query set.
        baseline: Name of the system that the others are compared with; by default the first.
        title: Title of a report made from the comparison.
        folder: Output folder for runs and cached figures; without it they are deleted when the call ends.
        timed_queries: Number of queries of each query set to time, one at a time; 0 for no timing.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: Two query sets or two systems have the same name, or a run cannot be measured.
        MissingExtraError: scipy, which computes the significance, is not installed.
    """
    check_significance()
    query_sets = [query_sets] if isinstance(query_sets, QuerySet) else list(query_sets)
    if isinstance(systems, Mapping):
        systems = [System(name=name, search=search) for name, search in systems.items()]
    systems = list(systems)
    _check_names("query sets", [query_set.name for query_set in query_sets])
    _check_names("systems", [system.name for system in systems])
    with _open_cache(folder) as cache:
        cells = [
            cell
            for query_set in query_sets
            for cell in evaluate_systems(query_set, systems, cache, timed_queries=timed_queries, progress=progress)
        ]
    infos = [system.info() for system in systems]
    return summarise(title, query_sets, infos, cells, baseline or systems[0].name, progress=progress)


def summarise(
    title: str,
    query_sets: Sequence[QuerySet],
    systems: Sequence[SystemInfo],
    cells: Sequence[Cell],
    baseline: str,
    *,
    skipped: Sequence[Skipped] = (),
    commands: Sequence[str] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Return a comparison of cells, with their intervals and differences and all that a report describes.

    Raises:
        BadInputError: The baseline is not one of the systems.
    """
    if baseline not in {system.name for system in systems}:
        names = ", ".join(system.name for system in systems)
        raise BadInputError(f"got the baseline {baseline!r}, expected one of the systems: {names}")
    progress = progress or silent
    progress("significance", 0, 2)
    intervals = intervals_of(cells)
    progress("significance", 1, 2)
    differences = differences_of(cells, baseline)
    progress("significance", 2, 2)
    return Comparison(
        title=title,
        baseline=baseline,
        query_sets=tuple(query_set.info() for query_set in query_sets),
        systems=tuple(systems),
        cells=tuple(cells),
        intervals=intervals,
        differences=differences,
        skipped=tuple(skipped),
        commands=tuple(commands),
        environment=describe_machine(),
    )


@contextmanager
def _open_cache(folder: str | Path | None) -> Iterator[ResultCache]:
    """Open the cache of an output folder, or of a temporary one."""
    if folder is not None:
        yield ResultCache(folder)
        return
    with tempfile.TemporaryDirectory(prefix="elasticdenser-") as temporary:
        yield ResultCache(temporary)


def _check_names(kind: str, names: Sequence[str]) -> None:
    """Refuse an empty list of query sets or systems, and two with the same name."""
    if not names:
        raise BadInputError(f"got no {kind}, expected at least one")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise BadInputError(f"got two {kind} named {repeated!r}: give each its own name")
