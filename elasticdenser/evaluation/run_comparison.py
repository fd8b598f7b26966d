"""Comparison of finished runs on the same judgements, with significance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ir_measures import Measure

from elasticdenser.evaluation.comparison import Cell, Difference
from elasticdenser.evaluation.measures import RunValues
from elasticdenser.evaluation.significance import differences_of


@dataclass(frozen=True, kw_only=True)
class MeasuredRun:
    """Figures of one run.

    Args:
        name: Name of the run, such as its path.
        values: Measure -> its value over all judged queries.
        differences: Measure -> difference from the first run; empty for that run.
    """

    name: str
    values: dict[str, float]
    differences: dict[str, Difference] = field(default_factory=dict)


def compare_runs(runs: Mapping[str, RunValues], measures: Sequence[Measure]) -> list[MeasuredRun]:
    """Return the figures of each run, with its differences from the first one.

    The p-values are those of the paired randomisation test, Holm-corrected over the runs; see `significance`.

    Args:
        runs: Name -> values of the run, all of the same judged queries.
        measures: Measures, in the order of the results.

    Raises:
        BadInputError: Two runs were measured on different queries.
    """
    cells = [
        Cell(query_set="", system=name, values={str(measure): values.by_query[measure] for measure in measures})
        for name, values in runs.items()
    ]
    differences = differences_of(cells, next(iter(runs))) if len(runs) > 1 else ()
    return [
        MeasuredRun(
            name=name,
            values={str(measure): values.aggregated[measure] for measure in measures},
            differences={difference.measure: difference for difference in differences if difference.system == name},
        )
        for name, values in runs.items()
    ]
