"""What an evaluation found: cells of figures by query, differences between systems, and what made them.

Plain records that can be written as JSON and read back, so that a report can be made again without the runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.artifacts import write_json
from elasticdenser.errors import BadInputError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class QuerySetInfo:
    """A query set over a corpus, as the report names it.

    Attributes:
        name: Short name, such as `nq-dev`.
        title: What it is in plain words, with what it is not ("pool re-retrieval").
        measures: Measures in the order of the table; the first is the primary one, which pictures show.
        n_passages: Passages of the corpus, None where the systems came with finished runs alone.
        queries: Query id -> text, of the queries that count (those with judgements or answers).
        curve_measure: Measure of the recall curves without its cut-off, such as `R(rel=2)` or `AnswerMatch`.
        fingerprint: SHA-256 over queries, judgements and answers.
        timed_k: Hits a query when systems were timed; 0 if they were not.
        typing_errors: How many each query was given.
        origin: What its queries were before; query sets of one origin differ in typing errors alone. Empty if unknown.
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
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class SystemInfo:
    """A system, as the report names it.

    Attributes:
        name: Short name, such as `bm25`.
        title: What it is in plain words.
        settings: All that decides its hits, for the record.
        size_of: Name that it shares with the other sizes of the same system; empty if there are none.
        size: Of the query encoder, such as `w0.5-d3`; empty where there is none.
    """

    name: str
    title: str
    settings: dict[str, Any]
    size_of: str = ""
    size: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One system on one query set.

    Attributes:
        query_set: Its name.
        system: Its name.
        values: Measure -> query id -> value, for the same queries in the same order in every cell of a query set.
        curve: Cut-off -> mean of the curve measure, rising cut-offs.
        ms_per_query: Median time of one query alone, in milliseconds, encoding included; None if not timed.
        run: The run file, relative to the output folder; empty if there is none.
        fingerprint: SHA-256 over everything that decides the run: query set, system, corpus, index.
        warnings: What was wrong with the run, in plain words.
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
        """Return a measure's mean over the queries."""
        return float(np.mean(list(self.values[measure].values())))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bootstrap interval of a mean over queries; see `significance`."""

    query_set: str
    system: str
    measure: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A system against the baseline on one query set and measure.

    Attributes:
        query_set: Its name.
        system: The system compared.
        baseline: What it is compared with.
        measure: Of what.
        difference: Mean of system minus baseline over queries.
        low: Lower end of the bootstrap interval of that difference.
        high: Upper end.
        p: Of the paired randomisation test, two-sided.
        p_holm: The same, Holm-corrected across the systems compared on this query set and measure.
        n_better: Queries on which the system is better.
        n_worse: Queries on which it is worse.
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

    def is_significant(self, level: float = 0.05) -> bool:
        """Tell whether the corrected p-value is below `level`."""
        return self.p_holm < level


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """What was not evaluated and why; `system` is empty where the whole query set was left out."""

    query_set: str
    system: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything an evaluation found.

    Attributes:
        title: Of the report.
        baseline: Name of the system the others are compared with.
        query_sets: In the order of the report.
        systems: In the order of the tables.
        cells: At most one for each query set and system.
        intervals: One for each cell and measure.
        differences: One for each cell and measure except the baseline's.
        skipped: What is missing, and why.
        commands: The commands that make this evaluation again.
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
        """Return the cell of a query set and a system, or None where it was skipped."""
        return next((c for c in self.cells if c.query_set == query_set and c.system == system), None)

    def difference(self, query_set: str, system: str, measure: str) -> Difference | None:
        """Return how a system differs from the baseline; None for the baseline itself."""
        wanted = (query_set, system, measure)
        return next((d for d in self.differences if (d.query_set, d.system, d.measure) == wanted), None)

    def interval(self, query_set: str, system: str, measure: str) -> Interval | None:
        """Return the bootstrap interval of a cell's mean."""
        wanted = (query_set, system, measure)
        return next((i for i in self.intervals if (i.query_set, i.system, i.measure) == wanted), None)

    def write(self, path: str | Path) -> None:
        """Write everything as one JSON file, atomically."""
        write_json(path, {"version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, path: str | Path) -> Comparison:
        """Read what `write` wrote.

        Raises:
            BadInputError: The file is missing, damaged, or of another version.
        """
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            if value.pop("version") != VERSION:
                raise ValueError("another version")
            return cls(
                **{
                    **value,
                    "query_sets": tuple(
                        QuerySetInfo(**{**q, "measures": tuple(q["measures"])}) for q in value["query_sets"]
                    ),
                    "systems": tuple(SystemInfo(**s) for s in value["systems"]),
                    "cells": tuple(_cell(c) for c in value["cells"]),
                    "intervals": tuple(Interval(**i) for i in value["intervals"]),
                    "differences": tuple(Difference(**d) for d in value["differences"]),
                    "skipped": tuple(Skipped(**s) for s in value["skipped"]),
                    "commands": tuple(value["commands"]),
                }
            )
        except OSError as error:
            raise BadInputError(f"cannot read it ({error.strerror}): run the evaluation first", path) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"this is no evaluation of this version ({error}): run the evaluation again"
            raise BadInputError(message, path) from error


def _cell(value: dict[str, Any]) -> Cell:
    curve = {int(cutoff): mean for cutoff, mean in value["curve"].items()}
    return Cell(**{**value, "curve": curve, "warnings": tuple(value["warnings"])})
