"""Loop of a training by gradients: steps, running means of losses, checkpoints and resumption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

import torch

from elasticdenser.errors import BadInputError
from elasticdenser.progress import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.batches import Batch
from elasticdenser.training.checkpoints import CHECKPOINT, WAY_OUT, read_checkpoint, write_checkpoint
from elasticdenser.training.data import TextOrder, TrainingData
from elasticdenser.training.settings import LoopSettings, StepSettings

_OLD_WEIGHT, _NEW_WEIGHT = 0.98, 0.02
"""Weights in the running means, which thus cover about the last 50 steps."""

AnySettings = TypeVar("AnySettings", bound=LoopSettings)
Settings = TypeVar("Settings", bound=StepSettings)
AnyBatch = TypeVar("AnyBatch")


class StepLoop(ABC, Generic[AnySettings, AnyBatch]):
    """Training that can be stopped at any moment and is resumed from its last checkpoint.

    A step depends on the settings and its number alone, so an interrupted training ends as an uninterrupted one. A
    subclass calls `resume` at the end of its `__init__`.

    Attributes:
        step: Number of steps taken so far.

    Args:
        settings: Settings of the steps.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.
    """

    activity: ClassVar[str]
    """Name of the training in progress reports."""

    def __init__(self, settings: AnySettings, folder: Path, device: torch.device | None) -> None:
        self.settings, self.folder = settings, folder
        self.device = device or torch.device("cpu")
        self.step = 0

    def depends_on_weights(self, step: int) -> bool:
        """Return whether the batch of a step can be drawn only with the weights at that step."""
        return False

    def before_reading(self, progress: Progress) -> None:
        """Prepare what `read_batch` needs for the current step and its neighbours.

        Called before the first step of `run`, and before each step for which `depends_on_weights` is true.
        """
        return  # nothing, unless a subclass needs it

    @abstractmethod
    def read_batch(self, step: int) -> AnyBatch:
        """Return the batch of a step, of all processes together; called in another thread."""

    @abstractmethod
    def train_step(self, whole: AnyBatch) -> None:
        """Take step number `self.step`.

        Args:
            whole: The batch of all processes together.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return all that the training resumes from, beside its step."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""

    @abstractmethod
    def running_losses(self) -> dict[str, Any]:
        """Return the losses of the last steps for the log."""

    def resume(self) -> None:
        """Continue from the checkpoint in the folder, if there is one.

        Raises:
            BadInputError: The checkpoint is damaged, of a training with other settings, or of another model.
            BuildError: A file cannot be written.
        """
        checkpoint = read_checkpoint(self.folder, self.settings, self.device)
        if checkpoint is None:
            return
        try:
            self.load_state(checkpoint)
            self.step = int(checkpoint["step"])
        except Exception as error:  # torch has many kinds of errors
            message = f"this checkpoint cannot be used ({error}): {WAY_OUT}"
            raise BadInputError(message, self.folder / CHECKPOINT) from error

    def run(self, *, until: int | None = None, save_every_s: float = 300, progress: Progress = silent) -> None:
        """Train until the last step, or until step `until`, and leave a checkpoint.

        Args:
            until: Step to stop at, if before the last one.
            save_every_s: Seconds between checkpoints.
            progress: Called with (activity, done, total) after every step.

        Raises:
            BuildError: A file cannot be written.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        if self.step >= last:
            return
        saved = monotonic()
        next_batch: Future[AnyBatch] | None = None
        # The next batch is tokenised and read from the disk during a step.
        with ThreadPoolExecutor(1, thread_name_prefix="batch-reader") as reader:
            while self.step < last:
                if next_batch is None:
                    self.before_reading(progress)
                    next_batch = reader.submit(self.read_batch, self.step)
                batch, next_batch = next_batch.result(), None
                if self.step + 1 < last and not self.depends_on_weights(self.step + 1):
                    next_batch = reader.submit(self.read_batch, self.step + 1)
                self.train_step(batch)
                self.step += 1
                progress(self.activity, self.step, self.settings.steps)
                if monotonic() - saved > save_every_s:
                    self._save()
                    saved = monotonic()
        self._save()

    def _save(self) -> None:
        if parallel.is_main_process():
            state = {"step": self.step, **self.state()}
            write_checkpoint(self.folder, self.settings, state, {"step": self.step, **self.running_losses()})


class TrainingLoop(StepLoop[Settings, Batch]):
    """Training on texts with the full encoder's vectors.

    Args:
        data: Batches by step.
        settings: Settings of the steps.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.
    """

    def __init__(self, data: TrainingData, settings: Settings, folder: Path, device: torch.device | None) -> None:
        super().__init__(settings, folder, device)
        self.data = data
        self._order: TextOrder | None = None

    def text_order(self, progress: Progress) -> TextOrder | None:
        """Return the texts of the current step and its neighbours; None is an epoch of all texts."""
        return None

    def before_reading(self, progress: Progress) -> None:
        """Draw the texts."""
        self._order = self.text_order(progress)

    def read_batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        settings = self.settings
        return self.data.batch(
            step,
            settings.batch,
            seed=settings.seed,
            typo_share=settings.typo_share,
            variant_share=settings.variant_share,
            n_random=settings.n_random,
            order=self._order,
        )


class RunningMeans:
    """Exponential means by name.

    Args:
        values: The means to continue from, by name.
    """

    def __init__(self, values: Mapping[str, float] | None = None) -> None:
        self.values = dict(values or {})

    def add(self, name: str, value: float) -> None:
        """Take a new value into the mean of a name; the first value is the mean itself."""
        self.values[name] = _OLD_WEIGHT * self.values.get(name, value) + _NEW_WEIGHT * value
