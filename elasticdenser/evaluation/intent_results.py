"""Figures of models of intents and slots: each system on each task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

PUBLISHED = {"MTOP, six languages": 95.9, "multilingual ATIS": 97.1}
"""Share of its mBERT teacher that pQRNN keeps, in per cent, at 1/350 of its size (Kaliamoorthi et al. 2021)."""


@dataclass(frozen=True, kw_only=True)
class IntentCell:
    """Figures of a system on a task.

    Args:
        system: Name of the system.
        task: The task.
        measures: Measure -> value, from 0 to 1.
        score: The value of the measure that the task is judged by.
        n_utterances: Number of utterances that were measured.
        body: `encoder`, `pqrnn` or `lstm`.
        n_parameters: Weights of the model.
        n_bytes: Bytes of the stored weights.
        cpu_us: Median CPU time of an utterance on one core, in microseconds; None where it was not measured.
    """

    system: str
    task: str
    measures: dict[str, float]
    score: float
    n_utterances: int
    body: str
    n_parameters: int
    n_bytes: int
    cpu_us: float | None = None


@dataclass(frozen=True, kw_only=True)
class IntentResults:
    """Results of a suite of intents.

    Args:
        title: Title of the report.
        split: Split that was measured.
        teacher: Name of the system that the others are compared with.
        tasks: Tasks in their order.
        cells: The figures.
        missing: Models and data that were not there, in words.
        commands: The commands of this evaluation.
        environment: The machine.
    """

    title: str
    split: str
    teacher: str
    tasks: tuple[str, ...]
    cells: tuple[IntentCell, ...]
    missing: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def systems(self) -> list[str]:
        """Names of the systems in their order."""
        return list(dict.fromkeys(cell.system for cell in self.cells))

    @property
    def evaluated_tasks(self) -> list[str]:
        """Tasks with at least one figure."""
        return [task for task in self.tasks if any(cell.task == task for cell in self.cells)]

    def cell(self, system: str, task: str) -> IntentCell | None:
        """Return the figures of a system on a task; None without any."""
        return next((cell for cell in self.cells if (cell.system, cell.task) == (system, task)), None)

    def share_of_teacher(self, cell: IntentCell) -> float | None:
        """Return the score of a cell as a share of the teacher's on the same task; None without a teacher's above 0."""
        teacher = self.cell(self.teacher, cell.task)
        return cell.score / teacher.score if teacher is not None and teacher.score else None

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each cell, for other programs."""
        for cell in self.cells:
            yield {
                "suite": self.title,
                "split": self.split,
                **asdict(cell),
                "share_of_teacher": self.share_of_teacher(cell),
                "machine": self.environment,
            }
