"""Options of the workers that search."""

from __future__ import annotations

from typing import Annotated

import typer

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        help="Number of batches that run at once. Default: one for each CPU, except one CPU for everything else.",
    ),
]
WorkerProcesses = Annotated[
    bool | None,
    typer.Option(
        "--processes/--threads",
        help="Run each worker in a process, or all in threads of one process. Default: processes, unless torch "
        "computes the vectors.",
        show_default=False,
    ),
]


def n_workers(workers: int | None) -> int:
    """Return the number of workers; None is all usable CPUs except one, which sends, receives and schedules."""
    from elasticdenser.cpus import cpu_count

    return workers or max(1, cpu_count() - 1)
