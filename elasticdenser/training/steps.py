"""What trainings by gradients have in common: the settings of their steps, and checkpoints to go on from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError

CHECKPOINT = "checkpoint.pt"
LOG = "losses.jsonl"


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How steps are taken.

    Args:
        steps: Optimiser steps.
        batch: Queries a step.
        learning_rate: Highest.
        final_share: What is left of the learning rate at the end of its cosine.
        warm_up: Steps until the highest learning rate.
        score_weight: Weight of the score distribution against the alignment.
        temperature: Of the score distribution.
        typo_share: Share of the queries that get typing errors; their targets are those of the clean text.
        n_random: Random passages in a batch's bank, beside the nearest ones.
        seed: Of everything drawn at random.

    Raises:
        BadInputError: A number is out of range.
    """

    steps: int
    batch: int = 128
    learning_rate: float
    final_share: float
    warm_up: int
    score_weight: float = 0.3
    temperature: float = 0.03
    typo_share: float = 0.15
    n_random: int
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1:
            raise BadInputError(f"got {self.steps} steps of {self.batch} queries; expected at least 1 of each")
        self.expect_shares("typo_share", "final_share")
        self.expect_above_0("learning_rate", "temperature")
        self.expect_from_0("warm_up", "score_weight", "n_random", "seed")

    def expect_shares(self, *names: str) -> None:
        """Raise BadInputError unless these settings are numbers from 0 to 1."""
        self._expect(names, "a number from 0 to 1", lambda value: 0 <= value <= 1)

    def expect_above_0(self, *names: str) -> None:
        """Raise BadInputError unless these settings are above 0 and finite."""
        self._expect(names, "a number above 0", lambda value: 0 < value < math.inf)

    def expect_from_0(self, *names: str) -> None:
        """Raise BadInputError unless these settings are 0 or more and finite."""
        self._expect(names, "0 or more", lambda value: 0 <= value < math.inf)

    def _expect(self, names: tuple[str, ...], what: str, holds: Callable[[float], bool]) -> None:
        for name in names:
            if not holds(getattr(self, name)):
                raise BadInputError(f"got {name} = {getattr(self, name)}; expected {what}")

    def share_at(self, step: int) -> float:
        """Return the share of the highest learning rate at a step: a linear warm-up, then a cosine."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def restore(folder: Path, settings: StepSettings, device: torch.device, use: Callable[[dict[str, Any]], None]) -> None:
    """Go on from the checkpoint of a folder; without one, nothing happens.

    Args:
        folder: Made if it is not there.
        settings: Of the training that wants to go on.
        device: Where the checkpoint's tensors go.
        use: Called with what `keep` was given.

    Raises:
        BadInputError: The checkpoint is of a training with other settings, or `use` can make nothing of it.
        BuildError: The disk refuses.
    """
    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT
    if not path.exists():
        return
    wanted = asdict(settings)
    try:
        kept = torch.load(path, map_location=device, weights_only=True)
        settings_then = kept["settings"]
        if settings_then == wanted:
            use(kept)
            return
    except Exception as error:  # the loader has many kinds of errors
        message = f"this checkpoint cannot be used ({error}): train in another folder, or remove it"
        raise BadInputError(message, path) from error
    changed = [name for name, value in wanted.items() if settings_then.get(name) != value]
    message = f"a run with another {', '.join(changed)} stands here: train in another folder, or remove it"
    raise BadInputError(message, path)


def keep(folder: Path, settings: StepSettings, state: Mapping[str, Any], line: Mapping[str, Any] | None) -> None:
    """Write a checkpoint, and a line of the log.

    Args:
        folder: Where the run's files are.
        settings: Of the training.
        state: All that it goes on from: tensors, numbers and dictionaries of them.
        line: What the log is told, if anything.

    Raises:
        BuildError: The disk refuses.
    """
    with explained_os_errors(folder):
        with atomic_write(folder / CHECKPOINT, "wb") as file:
            torch.save({"settings": asdict(settings), **state}, file)
        if line is not None:
            with open(folder / LOG, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
