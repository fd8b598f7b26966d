"""Figures of classifiers on the tasks of GLUE: each way to classify, on each task, with each seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

from elasticdenser.hull import hull_of, quality_at

FULL, SHARED, ALONE, EXITS = "full", "shared", "alone", "exits"
"""Groups of rows: the fine-tuned full encoder, subnets trained together, subnets trained alone, early exits."""

PUBLISHED = {"BERT-base": 79.5, "TinyBERT4": 77.0, "TinyBERT6": 79.4, "DistilBERT4": 71.9}
"""Averages over the test sets of GLUE, in per cent, from TinyBERT (Jiao et al. 2020): other data than dev sets."""

COST_EFF_SHARE = 19
"""COST-EFF (Shen et al. 2022) reports this part of the operations of BERT-base."""


@dataclass(frozen=True, kw_only=True)
class TaskCell:
    """Figures of one model.

    Args:
        row: Name of the way to classify, such as `shared.w0.5-d3`.
        group: `FULL`, `SHARED`, `ALONE` or `EXITS`.
        subnet: The subnet; with early exits, the last one.
        task: The task.
        seed: Seed of the training.
        measures: Measure -> value.
        flops: Operations spent on an example, on average.
    """

    row: str
    group: str
    subnet: str
    task: str
    seed: int
    measures: dict[str, float]
    flops: float

    @property
    def score(self) -> float:
        """The mean of the measures, as the average of GLUE counts a task."""
        return fmean(self.measures.values())


@dataclass(frozen=True, kw_only=True)
class TaskResults:
    """Results of a suite of GLUE.

    Args:
        title: Title of the report.
        tasks: Tasks in their order.
        cells: The figures.
        missing: Models and data that were not there, in words.
        commands: The commands of this evaluation.
        environment: The machine.
    """

    title: str
    tasks: tuple[str, ...]
    cells: tuple[TaskCell, ...]
    missing: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """Names of the rows in their order."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    def cells_of(self, row: str, task: str | None = None) -> list[TaskCell]:
        """Return the cells of a row, of one task or of all."""
        return [cell for cell in self.cells if cell.row == row and task in (None, cell.task)]

    def mean(self, row: str, task: str) -> float | None:
        """Return the mean score of a row on a task over the seeds; None without any."""
        scores = [cell.score for cell in self.cells_of(row, task)]
        return fmean(scores) if scores else None

    def deviation(self, row: str, task: str) -> float | None:
        """Return the standard deviation over the seeds; None with fewer than two."""
        scores = [cell.score for cell in self.cells_of(row, task)]
        return stdev(scores) if len(scores) > 1 else None

    def average(self, row: str) -> float | None:
        """Return the mean score over the tasks; None where the row lacks one of the tasks that were evaluated."""
        means = [self.mean(row, task) for task in self.evaluated_tasks]
        known = [mean for mean in means if mean is not None]
        return fmean(known) if known and len(known) == len(means) else None

    def flops(self, row: str) -> float:
        """Return the operations of an example, the mean over tasks and seeds."""
        return fmean(cell.flops for cell in self.cells_of(row))

    @property
    def evaluated_tasks(self) -> list[str]:
        """Tasks with at least one figure."""
        return [task for task in self.tasks if any(cell.task == task for cell in self.cells)]

    def shared_less_alone(self) -> dict[str, dict[str, float]]:
        """Return subnet -> task -> how much better the subnet is when trained together with the others than alone."""
        differences: dict[str, dict[str, float]] = {}
        for cell in self.cells:
            if cell.group != ALONE:
                continue
            together = [other.row for other in self.cells if (other.group, other.subnet) == (SHARED, cell.subnet)]
            shared = self.mean(together[0], cell.task) if together else None
            alone = self.mean(cell.row, cell.task)
            if shared is not None and alone is not None:
                differences.setdefault(cell.subnet, {})[cell.task] = shared - alone
        return differences

    def exits_less_static(self) -> dict[str, dict[str, float]]:
        """Return row of early exits -> task -> how much better it is than subnets that take as many operations.

        These are the subnets trained together, two of which are mixed at random where none takes as many: their
        concave hull.
        """
        differences: dict[str, dict[str, float]] = {}
        for task in self.evaluated_tasks:
            hull = hull_of(self._points(SHARED, task).values())
            for row, (flops, score) in self._points(EXITS, task).items():
                if hull:
                    differences.setdefault(row, {})[task] = score - quality_at(hull, flops)
        return differences

    def _points(self, group: str, task: str) -> dict[str, tuple[float, float]]:
        """Return row -> (operations, score) of the rows of a group on a task, the means over the seeds."""
        cells = {
            cell.row: self.cells_of(cell.row, task) for cell in self.cells if (cell.group, cell.task) == (group, task)
        }
        return {
            row: (fmean(cell.flops for cell in found), fmean(cell.score for cell in found))
            for row, found in cells.items()
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each cell, for other programs."""
        for cell in self.cells:
            yield {"suite": self.title, **asdict(cell), "score": cell.score, "machine": self.environment}
