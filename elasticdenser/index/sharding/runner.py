"""Running of the tasks of a sharded build, in this process or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from elasticdenser.progress import Progress

T = TypeVar("T")

Task = Callable[[Progress], T]

Measure = Callable[[], tuple[int, int]]
"""Returns how much is done, and of how much, as the files tell."""


class Runner(Protocol):
    """Runs tasks that do not depend on each other, and can be repeated after an interruption."""

    def run(self, tasks: Sequence[Task[T]], step: str, progress: Progress, measure: Measure | None = None) -> list[T]:
        """Run all tasks, and return their results in order.

        Args:
            tasks: The tasks.
            step: What they do, for the reports of progress.
            progress: Called with (step, done, in all).
            measure: Progress of all tasks; None counts finished tasks.

        Raises:
            ElasticDenserError: That of a task; the others may have run.
        """


class InTurn:
    """Runs one task after another in this process, each of which uses all CPUs that it wants; a `Runner`."""

    def run(self, tasks: Sequence[Task[T]], step: str, progress: Progress, measure: Measure | None = None) -> list[T]:
        """Run all tasks; their own reports of progress are passed on, with the number of the task."""
        results = []
        for number, task in enumerate(tasks, 1):

            def report(own_step: str, done: int, of: int, number: int = number) -> None:
                progress(f"shard {number} of {len(tasks)}: {own_step}", done, of)

            results.append(task(report))
        return results
