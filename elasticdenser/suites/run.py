"""Evaluation of a suite: builds what is missing, uses what is cached, and writes figures and a report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from elasticdenser.errors import BuildError, DataMissingError, MissingExtraError
from elasticdenser.evaluation import Cell, Comparison, QuerySet, Skipped, System, SystemInfo
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.evaluation.cells import evaluate_systems
from elasticdenser.evaluation.compare import summarise
from elasticdenser.progress import Progress, silent
from elasticdenser.suites.cell_lines import cell_lines
from elasticdenser.suites.options import SuiteOptions
from elasticdenser.suites.resources import Resources
from elasticdenser.suites.results import nothing_evaluated, open_results, write_cells
from elasticdenser.suites.settings import parts_of
from elasticdenser.suites.suite import Suite
from elasticdenser.suites.systems import make_system

logger = logging.getLogger(__name__)

RESULTS = "results.json"


def run_suite(
    suite: Suite,
    folder: str | Path,
    options: SuiteOptions | None = None,
    *,
    commands: Sequence[str] = (),
    progress: Progress | None = None,
) -> Comparison:
    """Evaluate a suite; a call with the folder of an interrupted one continues where that stopped.

    The folder gets `results.json`, `cells.jsonl`, `report.md`, `report.html`, runs, figures by query and, unless
    `options` name another folder, indexes.

    Args:
        suite: The suite.
        folder: The output folder.
        options: Options that the suite leaves open.
        commands: The commands of this evaluation, for the report.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: Nothing of the suite could be evaluated, or data are damaged. Missing data are skipped with a
            warning and a line in the report.
        MissingExtraError: What draws the report is not installed.
    """
    cache = open_results(folder)
    options = options or SuiteOptions()
    progress = progress or silent
    resources = Resources(suite, options.indexes or cache.folder / "indexes", options, progress)
    try:
        results = _evaluate(resources, cache, progress)
    except BaseException:
        with suppress(BuildError):  # the first error is the one to tell
            resources.flush()
        raise
    resources.flush()
    if not results.cells:
        raise nothing_evaluated(f"{skipped.query_set}: {skipped.reason}" for skipped in results.skipped)
    suite = resources.suite
    systems = [results.systems[name] for name in suite.systems if name in results.systems]
    baseline = suite.baseline if suite.baseline in results.systems else systems[0].name
    if baseline != suite.baseline:
        logger.warning("the baseline %s was skipped everywhere: %s is the baseline instead", suite.baseline, baseline)
    comparison = summarise(
        suite.title,
        results.query_sets,
        systems,
        results.cells,
        baseline,
        skipped=results.skipped,
        commands=commands,
        progress=progress,
    )
    _write(comparison, cache.folder, progress)
    return comparison


@dataclass(kw_only=True)
class _Results:
    """Results of the query sets that were evaluated so far."""

    query_sets: list[QuerySet] = field(default_factory=list)
    systems: dict[str, SystemInfo] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def _evaluate(resources: Resources, cache: ResultCache, progress: Progress) -> _Results:
    """Evaluate all query sets whose data are on this machine."""
    results = _Results()
    # All query sets are read before the first long computation, so that an error in one of them shows at once.
    query_sets = dict(_load_query_sets(resources, results.skipped))
    for name, query_set in query_sets.items():
        systems = _make_systems(name, resources, results.skipped)
        if not systems:
            continue
        for system in systems:
            results.systems[system.name] = _merged(results.systems.get(system.name), system.info())
        results.cells += evaluate_systems(
            query_set, systems, cache, timed_queries=resources.options.timed_queries, progress=progress
        )
        n_passages = resources.n_passages(resources.suite.query_sets[name].corpus)
        results.query_sets.append(replace(query_set, n_passages=n_passages))
    return results


def _load_query_sets(resources: Resources, skipped: list[Skipped]) -> Iterator[tuple[str, QuerySet]]:
    for name in resources.suite.query_sets:
        try:
            yield name, resources.query_set(name)
        except DataMissingError as error:
            _skip(skipped, name, "", error)


def _make_systems(query_set: str, resources: Resources, skipped: list[Skipped]) -> list[System]:
    """Make the systems of the suite for the corpus of a query set; add those that cannot be made to `skipped`."""
    systems: dict[str, System] = {}
    skipped_here: list[Skipped] = []
    all_settings = resources.suite.systems
    for name, settings in all_settings.items():
        try:
            systems[name] = make_system(name, settings, query_set, resources, systems)
        except (DataMissingError, MissingExtraError) as error:
            _skip(skipped_here, query_set, name, error)
    # If all systems were skipped for the same reason, the whole query set was; systems made of others only repeat it.
    reasons = {skipped.reason for skipped in skipped_here if not parts_of(all_settings[skipped.system])[1]}
    if not systems and len(reasons) == 1:
        skipped_here = [replace(skipped_here[0], system="")]
    skipped += skipped_here
    return list(systems.values())


def _merged(before: SystemInfo | None, now: SystemInfo) -> SystemInfo:
    """Merge the descriptions of a system over several corpora: settings that differ by corpus are joined."""
    if before is None:
        return now
    settings = {
        key: before.settings[key] | value if isinstance(value, dict) else value for key, value in now.settings.items()
    }
    return replace(now, settings=settings)


def _skip(skipped: list[Skipped], query_set: str, system: str, error: Exception) -> None:
    logger.warning("skipped %s: %s", f"{system} on {query_set}" if system else query_set, error)
    skipped.append(Skipped(query_set=query_set, system=system, reason=str(error)))


def _write(comparison: Comparison, folder: Path, progress: Progress) -> None:
    """Write the results and the report."""
    from elasticdenser.reports import write_report

    progress("report", 0, 1)
    comparison.write(folder / RESULTS)
    write_cells(folder, cell_lines(comparison))
    write_report(comparison, folder)
    progress("report", 1, 1)
