"""Run a suite: make what is missing, keep what is there, and leave figures and a report."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError, DataMissingError, MissingExtraError
from elasticdenser.evaluation.cache import Folder
from elasticdenser.evaluation.compare import evaluate_systems, summarise
from elasticdenser.evaluation.comparison import Cell, Comparison, Skipped, SystemInfo
from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.evaluation.systems import System
from elasticdenser.progress import Progress
from elasticdenser.suites.reading import Suite
from elasticdenser.suites.resources import Resources, SuiteOptions
from elasticdenser.suites.systems import make_system

logger = logging.getLogger(__name__)

RESULTS = "results.json"
CELLS = "cells.jsonl"


def run_suite(
    suite: Suite,
    folder: str | Path,
    options: SuiteOptions | None = None,
    *,
    commands: Sequence[str] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Evaluate a suite, going on where an earlier call with the same folder stopped.

    Leaves in the folder: `results.json`, `cells.jsonl`, `report.md`, `report.html`, runs, figures by query and, unless
    `options` name another place, indexes.

    Args:
        suite: What to evaluate.
        folder: Where everything goes.
        options: What the suite leaves open.
        commands: How this was called, for the report.
        progress: Called with (what, done, of how many).

    Raises:
        BadInputError: Nothing of the suite could be evaluated, or data are damaged. What is merely absent is skipped,
            with a warning and a line in the report.
    """
    options = options or SuiteOptions()
    progress = progress or (lambda what, done, total: None)
    kept = Folder(folder)
    with explained_os_errors(kept.path):
        kept.path.mkdir(parents=True, exist_ok=True)
    resources = Resources(suite, options.indexes or kept.path / "indexes", options, progress)
    suite = resources.suite
    skipped: list[Skipped] = []
    # All query sets are read before the first long work begins, so that a fault is seen at once.
    query_sets = dict(_query_sets(suite, resources, skipped))
    systems: dict[str, SystemInfo] = {}
    cells: list[Cell] = []
    evaluated: list[QuerySet] = []
    for name, query_set in query_sets.items():
        made = _systems(name, resources, skipped)
        if not made:
            continue
        for system in made:
            systems[system.name] = _merged(systems.get(system.name), system.info())
        cells += evaluate_systems(query_set, made, kept, timed_queries=options.timed_queries, progress=progress)
        n_passages = resources.n_passages(suite.query_sets[name].corpus)
        evaluated.append(replace(query_set, n_passages=n_passages))
    if not cells:
        reasons = "; ".join(f"{its.query_set}: {its.reason}" for its in skipped)
        raise BadInputError(f"nothing of this suite could be evaluated ({reasons})")
    ordered = [systems[name] for name in suite.systems if name in systems]
    baseline = suite.baseline if suite.baseline in systems else ordered[0].name
    if baseline != suite.baseline:
        logger.warning("the baseline %s was skipped everywhere: %s takes its place", suite.baseline, baseline)
    comparison = summarise(
        suite.title, evaluated, ordered, cells, baseline, skipped=skipped, commands=commands, progress=progress
    )
    _write(comparison, kept.path, progress)
    return comparison


def cell_lines(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield one record a cell, for machines: figures with intervals, differences from the baseline, provenance."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    systems = {system.name: system for system in comparison.systems}
    query_sets = {query_set.name: query_set for query_set in comparison.query_sets}
    for cell in comparison.cells:
        query_set = query_sets[cell.query_set]
        yield {
            "when": when,
            "suite": comparison.title,
            "query_set": cell.query_set,
            "title": query_set.title,
            "n_queries": len(query_set.queries),
            "typing_errors": query_set.typing_errors,
            "n_passages": query_set.n_passages,
            "system": cell.system,
            "settings": systems[cell.system].settings,
            "measures": {measure: _figures(comparison, cell, measure) for measure in query_set.measures},
            "curve": {"measure": query_set.curve_measure, **{str(at): round(its, 4) for at, its in cell.curve.items()}},
            "ms_per_query": None if cell.ms_per_query is None else round(cell.ms_per_query, 3),
            "timed_k": query_set.timed_k,
            "baseline": comparison.baseline,
            "warnings": list(cell.warnings),
            "fingerprint": cell.fingerprint,
            "machine": comparison.environment,
        }


def _figures(comparison: Comparison, cell: Cell, measure: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"mean": cell.mean(measure), "n_queries": len(cell.values[measure])}
    if interval := comparison.interval(cell.query_set, cell.system, measure):
        figures |= {"low": round(interval.low, 10), "high": round(interval.high, 10)}
    if difference := comparison.difference(cell.query_set, cell.system, measure):
        figures |= {"difference": round(difference.difference, 10), "p": difference.p, "p_holm": difference.p_holm}
    return figures


def _query_sets(suite: Suite, resources: Resources, skipped: list[Skipped]) -> Iterator[tuple[str, QuerySet]]:
    for name in suite.query_sets:
        try:
            yield name, resources.query_set(name)
        except DataMissingError as error:
            _skip(skipped, name, "", error)


def _systems(query_set: str, resources: Resources, skipped: list[Skipped]) -> list[System]:
    """Make the systems of the suite over the corpus of a query set; note what cannot be had."""
    made: dict[str, System] = {}
    absent: list[Skipped] = []
    wanted = resources.suite.systems
    for name, settings in wanted.items():
        try:
            made[name] = make_system(name, settings, query_set, resources, made)
        except (DataMissingError, MissingExtraError) as error:
            _skip(absent, query_set, name, error)
    # Where no system could be made for the same reason, the query set as a whole was left out; fusions only follow.
    if not made and len({its.reason for its in absent if not hasattr(wanted[its.system], "of")}) == 1:
        absent = [replace(absent[0], system="")]
    skipped += absent
    return list(made.values())


def _merged(before: SystemInfo | None, now: SystemInfo) -> SystemInfo:
    """Join what a system is over several corpora: settings that are tables by corpus grow."""
    if before is None:
        return now
    old = before.settings
    joined = {key: old[key] | its if isinstance(its, dict) else its for key, its in now.settings.items()}
    return replace(now, settings=joined)


def _skip(skipped: list[Skipped], query_set: str, system: str, error: Exception) -> None:
    logger.warning("skipped %s: %s", f"{system} on {query_set}" if system else query_set, error)
    skipped.append(Skipped(query_set=query_set, system=system, reason=str(error)))


def _write(comparison: Comparison, folder: Path, progress: Progress) -> None:
    from elasticdenser.reports import write_report

    progress("report", 0, 1)
    comparison.write(folder / RESULTS)
    with atomic_write(folder / CELLS) as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in cell_lines(comparison))
    write_report(comparison, folder)
    progress("report", 1, 1)
