"""Results of an evaluation: figures by query, differences between systems, and what produced them.

Plain records that are written as JSON and read back, so that a report can be made again without the runs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import BadInputError

FORMAT_VERSION = 1

_SYSTEM_KEYS = {"family": "size_of", "subnet": "size"}
"""Fields of `SystemInfo` whose keys in the file have other names, from the first version of the format."""

SIGNIFICANCE_LEVEL = 0.05
"""Differences with a corrected p-value below it are called significant, as is the convention of the field."""


@dataclass(frozen=True, kw_only=True)
class QuerySetInfo:
    """Description of a query set over a corpus, for reports.

    Attributes:
        name: Short name, such as `nq-dev`.
        title: Title in plain words, with any limitation ("pool re-retrieval").
        measures: Measures in the order of the table; the first is the primary measure, which the charts show.
        n_passages: Number of passages in the corpus; None if all systems are finished runs.
        queries: Query id -> text, of the queries with judgements or answers.
        curve_measure: Measure of the recall curves without its cut-off, such as `R(rel=2)` or `AnswerMatch`.
        fingerprint: SHA-256 over queries, judgements and answers.
        timed_k: Hits per query in the timings; 0 if systems were not timed.
        typing_errors: Number of typing errors in each query.
        perturbation: Name of the slip in each query, one of `datasets.perturbations`; empty without one.
        origin: Identifies the queries without slips: query sets with the same origin differ in their slips alone. Empty
            if unknown.
    """

    name: str
    title: str
    measures: tuple[str, ...]
    n_passages: int | None
    queries: dict[str, str]
    curve_measure: str
    fingerprint: str
    timed_k: int = 0
    typing_errors: int = 0
    perturbation: str = ""
    origin: str = ""

    @property
    def slips(self) -> str:
        """Slip in the queries, such as `1 error` or `dropped-word`; empty for queries as they are."""
        if self.perturbation or not self.typing_errors:
            return self.perturbation
        return "1 error" if self.typing_errors == 1 else f"{self.typing_errors} errors"


@dataclass(frozen=True, kw_only=True)
class SystemInfo:
    """Description of a system, for reports.

    Attributes:
        name: Short name, such as `bm25`.
        title: Title in plain words.
        settings: All settings that its hits depend on.
        family: Name shared by the systems that differ only in the subnet of the query encoder; empty if there is none.
        subnet: Subnet of the query encoder, such as `w0.5-d3`; empty if there is none.
    """

    name: str
    title: str
    settings: dict[str, Any]
    family: str = ""
    subnet: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Figures of one system on one query set.

    Attributes:
        query_set: Name of the query set.
        system: Name of the system.
        values: Measure -> query id -> value, for the same queries in the same order in every cell of a query set.
        curve: Cut-off -> mean of the curve measure, by rising cut-off.
        ms_per_query: Median time of a single query in milliseconds, encoding included; None if not timed.
        run: The run file, relative to the output folder; empty if there is none.
        fingerprint: SHA-256 over everything that the run depends on: query set, system, corpus, index.
        warnings: Problems of the run, in plain words.
    """

    query_set: str
    system: str
    values: dict[str, dict[str, float]]
    curve: dict[int, float] = field(default_factory=dict)
    ms_per_query: float | None = None
    run: str = ""
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()

    def mean(self, measure: str) -> float:
        """Return the mean of a measure over the queries."""
        return float(np.mean(list(self.values[measure].values())))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bootstrap interval of the mean over queries of one system, query set and measure; see `significance`."""

    query_set: str
    system: str
    measure: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference between a system and the baseline on one query set and measure.

    Attributes:
        query_set: Name of the query set.
        system: Name of the system.
        baseline: Name of the baseline.
        measure: The measure compared.
        difference: Mean over queries of the system's value minus the baseline's.
        low: Lower end of the bootstrap interval of that difference.
        high: Upper end of the interval.
        p: Two-sided p-value of the paired randomisation test.
        p_holm: The p-value after Holm's correction across the systems compared on this query set and measure.
        n_better: Number of queries on which the system is better than the baseline.
        n_worse: Number of queries on which the system is worse.
    """

    query_set: str
    system: str
    baseline: str
    measure: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n_better: int
    n_worse: int

    def is_significant(self, level: float = SIGNIFICANCE_LEVEL) -> bool:
        """Tell whether the corrected p-value is below `level`."""
        return self.p_holm < level


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """System that was not evaluated on a query set, and the reason; no `system` means the whole query set."""

    query_set: str
    system: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All results of an evaluation.

    Attributes:
        title: Title of the report.
        baseline: Name of the system that the others are compared with.
        query_sets: Query sets in the order of the report.
        systems: Systems in the order of the tables.
        cells: At most one cell for each query set and system.
        intervals: One interval for each cell and measure.
        differences: One difference for each cell and measure, except those of the baseline.
        skipped: Systems and query sets that were left out.
        commands: Commands that repeat this evaluation.
        environment: Machine and versions.
    """

    title: str
    baseline: str
    query_sets: tuple[QuerySetInfo, ...]
    systems: tuple[SystemInfo, ...]
    cells: tuple[Cell, ...]
    intervals: tuple[Interval, ...] = ()
    differences: tuple[Difference, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    commands: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)

    def cell(self, query_set: str, system: str) -> Cell | None:
        """Return the cell of a query set and a system; None if it was skipped."""
        return next((c for c in self.cells if c.query_set == query_set and c.system == system), None)

    def cells_of(self, query_set: str) -> list[Cell]:
        """Return the cells of a query set in the order of the systems."""
        cells = (self.cell(query_set, system.name) for system in self.systems)
        return [cell for cell in cells if cell is not None]

    def difference(self, query_set: str, system: str, measure: str) -> Difference | None:
        """Return the difference between a system and the baseline; None for the baseline itself."""
        wanted = (query_set, system, measure)
        return next((d for d in self.differences if (d.query_set, d.system, d.measure) == wanted), None)

    def interval(self, query_set: str, system: str, measure: str) -> Interval | None:
        """Return the bootstrap interval of the mean of a cell; None if there is no such cell."""
        wanted = (query_set, system, measure)
        return next((i for i in self.intervals if (i.query_set, i.system, i.measure) == wanted), None)

    def write(self, path: str | Path) -> None:
        """Write everything as one JSON file, atomically."""
        value = asdict(self)
        value["systems"] = [_renamed(system, _SYSTEM_KEYS) for system in value["systems"]]
        write_json(path, {"version": FORMAT_VERSION, **value})

    @classmethod
    def read(cls, path: str | Path) -> Comparison:
        """Read a file that `write` wrote.

        Raises:
            BadInputError: The file is missing, damaged, or of another version.
        """
        try:
            value = loads_json(Path(path).read_bytes())
            return from_value(cls, _fields_of_file(value), "results")
        except OSError as error:
            raise BadInputError(f"cannot read it ({error.strerror}): run the evaluation first", path) from error
        except (ValueError, BadInputError) as error:
            message = f"these are not results of an evaluation ({error}): run the evaluation again"
            raise BadInputError(message, path) from error


def _fields_of_file(value: Any) -> Any:
    """Return the fields of `Comparison` from the content of a results file, under their names in this version."""
    if not isinstance(value, dict) or value.get("version") != FORMAT_VERSION:
        got = value.get("version") if isinstance(value, dict) else value
        raise ValueError(f"got format version {got!r}, expected {FORMAT_VERSION}")
    fields = {key: item for key, item in value.items() if key != "version"}
    if isinstance(fields.get("systems"), list):
        old_names = {key: name for name, key in _SYSTEM_KEYS.items()}
        fields["systems"] = [_renamed(system, old_names) for system in fields["systems"]]
    return fields


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Return a dictionary with some of its keys renamed, and anything else unchanged."""
    return {names.get(key, key): item for key, item in value.items()} if isinstance(value, dict) else value
