"""Parts shared by the trainings of all kinds of models: processes, locks, the folder of a run, steps with snapshots."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from elasticdenser.artifacts import explained_os_errors, write_json
from elasticdenser.cpus import cpu_count
from elasticdenser.encoders import resolve_device
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.progress import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.cost import time_steps
from elasticdenser.training.loop import StepLoop

Log = Callable[[str], None]
"""Called with messages for the log."""

Result = TypeVar("Result", covariant=True)


class Stages(Protocol[Result]):
    """Stages of one training."""

    def run(self, locks: ExitStack) -> None:
        """Train, in every process.

        Args:
            locks: Takes the lock on the folder of the run.
        """

    def finish(self, output: Path) -> Result:
        """Select a snapshot and write the model, in the main process."""


def run_stages(
    make: Callable[[Path, torch.device, Progress, Log], Stages[Result]],
    output: Path,
    *,
    work: Path | None,
    device: str,
    progress: Progress,
    log: Log,
) -> Result | None:
    """Run the stages of a training, in one process or in those that `torchrun` started.

    Args:
        make: Makes the stages of the working folder, the device of this process, progress and log.
        output: Folder of the model.
        work: Working folder; None is `NAME.work` beside the model.
        device: Kind of device.
        progress: Called with (activity, done, total).
        log: Called with messages for the log.

    Returns:
        The result; None in processes that are not the main one.
    """
    work = work or output.with_name(f"{output.name}.work")
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(min(torch.get_num_threads(), cpu_count()))
    with ExitStack() as locks:
        with parallel.process_group(resolve_device(device)) as resolved:
            is_main = parallel.is_main_process()
            if not is_main:
                progress, log = silent, lambda message: None
            stages = make(work, resolved, progress, log)
            stages.run(locks)
        # The other processes end here: the rest is too little work to share.
        return stages.finish(output) if is_main else None


def open_run(folder: Path, plan: dict[str, Any], locks: ExitStack) -> None:
    """Lock and create the folder of a run, in the main process, and write its plan.

    Raises:
        BuildError: Another process has it, or a file cannot be written.
    """
    locks.enter_context(exclusive_lock(folder))
    with explained_os_errors(folder):
        folder.mkdir(exist_ok=True)
    write_json(folder / "plan.json", plan)


def run_folder(work: Path, plan: dict[str, Any]) -> Path:
    """Return the folder of the run of a plan: another plan has another folder."""
    return work / f"run-{fingerprint_of(plan)[:12]}"


def train_with_snapshots(
    loop: StepLoop[Any, Any],
    interval: int,
    save: Callable[[int], None],
    *,
    save_every_s: float,
    progress: Progress,
    log: Log,
) -> None:
    """Train up to the last step.

    Args:
        loop: The training, at any step.
        interval: Steps between snapshots.
        save: Saves the snapshot of a step, unless there is one.
        save_every_s: Seconds between checkpoints.
        progress: Called with (activity, done, total).
        log: Called with messages for the log.
    """
    if remaining := time_steps(loop, interval, progress):
        log(remaining)
    steps = loop.settings.steps
    while True:
        if loop.step == steps or (loop.step and loop.step % interval == 0):
            save(loop.step)
        if loop.step == steps:
            return
        next_snapshot = (loop.step // interval + 1) * interval
        loop.run(until=next_snapshot, save_every_s=save_every_s, progress=progress)
