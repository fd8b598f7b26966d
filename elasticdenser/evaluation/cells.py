"""Runs, figures and timings of systems on one query set, computed where they are not in the cache."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.evaluation.comparison import Cell
from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.evaluation.resumable_runs import write_run_in_parts
from elasticdenser.evaluation.systems import System
from elasticdenser.evaluation.timing import evenly_sampled, time_systems
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress, silent

_CELL_VERSION = 2
"""Raised when cells are computed differently: cached ones of an earlier version are then computed again."""


def evaluate_systems(
    query_set: QuerySet,
    systems: Sequence[System],
    cache: ResultCache,
    *,
    timed_queries: int = 50,
    progress: Progress | None = None,
) -> list[Cell]:
    """Return a cell for each system on a query set; runs, figures and timings come from the cache or go there.

    Args:
        query_set: Queries and their judgements.
        systems: Systems to evaluate; those without a fingerprint are searched every time.
        cache: Cache in the output folder.
        timed_queries: Number of queries to time, one at a time; 0 for no timing.
        progress: Called with (what, done, total).

    Raises:
        BadInputError: A run cannot be measured.
    """
    progress = progress or silent
    query_fingerprint = query_set.fingerprint()
    run_paths: dict[str, Path] = {}
    cells = []
    for system in systems:
        path = _ensure_run(query_set, system, cache, run_paths, progress)
        fingerprint = fingerprint_of([_CELL_VERSION, system.fingerprint, query_fingerprint, query_set.k])
        key = fingerprint_of([fingerprint, list(query_set.measures)])
        measuring = partial(progress, f"{query_set.name}: {system.name} (measuring)")
        measure = partial(_measure, query_set, path, measuring, is_finished_run=system.run is not None)
        if system.fingerprint:
            figures = cache.get_or_compute("cells", f"{query_set.name}/{system.name}", key, measure)
        else:
            figures = measure()
        cells.append(
            Cell(
                query_set=query_set.name,
                system=system.name,
                values=figures["values"],
                curve={int(cutoff): value for cutoff, value in figures["curve"].items()},
                run=_relative(path, cache.folder),
                fingerprint=fingerprint,
                warnings=tuple(figures["warnings"]),
            )
        )
    times_ms = _times_ms(query_set, systems, cache, timed_queries, progress)
    return [replace(cell, ms_per_query=times_ms.get(cell.system)) for cell in cells]


def _ensure_run(
    query_set: QuerySet, system: System, cache: ResultCache, run_paths: dict[str, Path], progress: Progress
) -> Path:
    """Return the run file of a system on a query set, searching if it is neither cached nor in `run_paths`."""
    if system.run is not None:
        return system.run
    if system.name in run_paths:
        return run_paths[system.name]
    queries = query_set.judged
    key = fingerprint_of([system.fingerprint, queries, query_set.k])
    path = run_paths[system.name] = cache.run_path(query_set.name, system.name, key)
    if path.exists() and system.fingerprint:
        return path
    what = f"{query_set.name}: {system.name}"
    if system.fuse is not None:
        runs = [read_run(_ensure_run(query_set, part, cache, run_paths, progress)) for part in system.parts]
        progress(what, 0, len(queries))
        write_run(path, system.fuse(runs, query_set.k), tag=system.name)
        progress(what, len(queries), len(queries))
    elif system.search is not None:
        write_run_in_parts(
            system.search,
            queries,
            query_set.k,
            path,
            tag=system.name,
            resume=bool(system.fingerprint),
            progress=partial(progress, what),
        )
    return path


def _measure(
    query_set: QuerySet, run_path: Path, progress: Callable[[int, int], None], *, is_finished_run: bool
) -> dict[str, Any]:
    progress(0, 1)
    with _collected_warnings() as warnings:
        run = read_run(run_path)
        if is_finished_run:
            query_set.check(run)
        values, curve = query_set.measure(run)
    progress(1, 1)
    return {"values": values, "curve": curve, "warnings": warnings}


def _times_ms(
    query_set: QuerySet, systems: Sequence[System], cache: ResultCache, n_queries: int, progress: Progress
) -> dict[str, float]:
    """Return system -> median milliseconds per query, of the systems that can search new queries."""
    searches = {system.name: search for system in systems if (search := system.live_search) is not None}
    if not n_queries or not searches:
        return {}
    queries = evenly_sampled(query_set.judged, n_queries)
    k = query_set.timed_k

    def measure() -> dict[str, Any]:
        return {"ms": time_systems(searches, queries, k=k, progress=partial(progress, f"{query_set.name}: timing"))}

    fingerprints = [system.fingerprint for system in systems if system.name in searches]
    if all(fingerprints):
        key = fingerprint_of([fingerprints, queries, k, describe_machine()])
        times = cache.get_or_compute("times", query_set.name, key, measure)
    else:
        times = measure()
    return cast("dict[str, float]", times["ms"])


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings that this package logs; they are shown as usual, too."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Collector(logging.WARNING)
    logger = logging.getLogger("elasticdenser")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
