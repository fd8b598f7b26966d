"""Evaluate any systems on any query sets: runs, cells, timings and significance, as one `Comparison`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.cache import Folder, search_in_parts
from elasticdenser.evaluation.comparison import Cell, Comparison, Skipped, SystemInfo
from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.evaluation.significance import differences_of, intervals_of
from elasticdenser.evaluation.systems import System
from elasticdenser.evaluation.timing import Search, sampled, time_systems
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress, silent

_CELL_VERSION = 2


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
        found = compare(nq, {"dense": retriever.search, "bm25": bm25.search})
        print(found.cell("nq", "bm25").mean("nDCG@10"), found.difference("nq", "bm25", "nDCG@10").p_holm)

    Args:
        query_sets: What is asked.
        systems: Name -> search (takes queries and k), or `System`s. All search all the query sets.
        baseline: Name of the system that the others are compared with; by default the first.
        title: Of a report made from it.
        folder: Where runs and figures are kept; without one they go when the call ends.
        timed_queries: How many queries of each set are timed, one at a time; 0 for no timing.
        progress: Called with (what, done, of how many).

    Raises:
        BadInputError: Names repeat, or a run cannot be measured.
    """
    query_sets = [query_sets] if isinstance(query_sets, QuerySet) else list(query_sets)
    if isinstance(systems, Mapping):
        systems = [System(name=name, search=search) for name, search in systems.items()]
    systems = list(systems)
    _refuse_repeats("query sets", [query_set.name for query_set in query_sets])
    _refuse_repeats("systems", [system.name for system in systems])
    with _folder(folder) as kept:
        cells = [
            cell
            for query_set in query_sets
            for cell in evaluate_systems(query_set, systems, kept, timed_queries=timed_queries, progress=progress)
        ]
    return summarise(
        title, query_sets, [system.info() for system in systems], cells, baseline or systems[0].name, progress=progress
    )


def evaluate_systems(
    query_set: QuerySet,
    systems: Sequence[System],
    folder: Folder,
    *,
    timed_queries: int = 50,
    progress: Progress | None = None,
) -> list[Cell]:
    """Make what is missing of the runs, measures and timings of systems on a query set; keep them in a folder.

    Raises:
        BadInputError: A run cannot be measured.
    """
    progress = progress or silent
    query_fingerprint = query_set.fingerprint()
    runs: dict[str, Path] = {}
    cells = []
    for system in systems:
        what = f"{query_set.name}: {system.name}"
        run = _ensure_run(query_set, system, folder, runs, progress)
        fingerprint = fingerprint_of([_CELL_VERSION, system.fingerprint, query_fingerprint, query_set.k])
        key = fingerprint_of([fingerprint, list(query_set.measures)])
        measure = partial(_measure, query_set, system, run, partial(progress, f"{what} (measuring)"))
        record = (
            folder.record("cells", f"{query_set.name}/{system.name}", key, measure) if system.fingerprint else measure()
        )
        cells.append(
            Cell(
                query_set=query_set.name,
                system=system.name,
                values=record["values"],
                curve={int(cutoff): value for cutoff, value in record["curve"].items()},
                run=_relative(run, folder.path),
                fingerprint=fingerprint,
                warnings=tuple(record["warnings"]),
            )
        )
    times = _times(query_set, systems, folder, timed_queries, progress)
    return [replace(cell, ms_per_query=times.get(cell.system)) for cell in cells]


def _ensure_run(query_set: QuerySet, system: System, folder: Folder, runs: dict[str, Path], progress: Progress) -> Path:
    """Return the run file of a system on a query set, made now if it is neither kept nor among `runs`."""
    if system.run is not None:
        return system.run
    if system.name in runs:
        return runs[system.name]
    queries = query_set.judged
    key = fingerprint_of([system.fingerprint, queries, query_set.k])
    file = runs[system.name] = folder.run_file(query_set.name, system.name, key)
    if file.exists() and system.fingerprint:
        return file
    what = f"{query_set.name}: {system.name}"
    if system.fuse is not None:
        hits = [read_run(_ensure_run(query_set, part, folder, runs, progress)) for part in system.parts]
        progress(what, 0, len(queries))
        write_run(file, system.fuse(hits, query_set.k), tag=system.name)
        progress(what, len(queries), len(queries))
    elif system.search is not None:
        search_in_parts(
            system.search,
            queries,
            query_set.k,
            file,
            tag=system.name,
            resume=bool(system.fingerprint),
            progress=partial(progress, what),
        )
    return file


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
    """Add intervals and differences to cells, and what a report needs to know.

    Raises:
        BadInputError: The baseline is none of the systems.
    """
    if baseline not in {system.name for system in systems}:
        names = ", ".join(system.name for system in systems)
        raise BadInputError(f"the baseline {baseline!r} is none of the systems: expected one of {names}")
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


def _measure(
    query_set: QuerySet, system: System, run_file: Path, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    progress(0, 1)
    with _warnings() as warnings:
        run = read_run(run_file)
        if system.run is not None:
            query_set.check(run)
        values, curve = query_set.measure(run)
    progress(1, 1)
    return {"values": values, "curve": curve, "warnings": warnings}


def _times(
    query_set: QuerySet, systems: Sequence[System], folder: Folder, n_queries: int, progress: Progress
) -> dict[str, float]:
    searches = {system.name: live for system in systems if (live := system.live) is not None}
    if not n_queries or not searches:
        return {}
    queries = sampled(query_set.judged, n_queries)
    k = query_set.timed_k

    def measure() -> dict[str, Any]:
        return {"ms": time_systems(searches, queries, k=k, progress=partial(progress, f"{query_set.name}: timing"))}

    prints = [system.fingerprint for system in systems if system.name in searches]
    if not all(prints):
        return measure()["ms"]  # type: ignore[no-any-return]
    key = fingerprint_of([prints, queries, k, describe_machine()])
    return folder.record("times", query_set.name, key, measure)["ms"]  # type: ignore[no-any-return]


@contextmanager
def _folder(path: str | Path | None) -> Iterator[Folder]:
    if path is not None:
        yield Folder(path)
        return
    with tempfile.TemporaryDirectory(prefix="elasticdenser-") as temporary:
        yield Folder(temporary)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what this package warns of, beside showing it as usual."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Collector(logging.WARNING)
    logger = logging.getLogger("elasticdenser")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    if not names:
        raise BadInputError(f"no {what} given, expected at least one")
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise BadInputError(f"two {what} are called {repeated!r}: give each a name of its own")


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
