"""Parts that trainings of one model by one optimiser share: their checkpoints, and random numbers of each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import torch
from torch import nn

from elasticdenser.training.loop import RunningMeans


class OneModel:
    """State of a training of one model; inherit from it before `StepLoop`.

    Attributes:
        model: The model, trained in place.
        optimiser: Its optimiser.
        means: Running means of losses and other figures.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    means: RunningMeans

    def state(self) -> dict[str, Any]:
        """Return weights, optimiser and running means."""
        return {
            "means": self.means.values,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.means = RunningMeans(state["means"])

    def running_losses(self) -> dict[str, Any]:
        """Return the running means."""
        return dict(self.means.values)


@contextmanager
def random_numbers_of_step(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Draw from random numbers that depend on seed and step alone, so that a resumed training drops the same states.

    Args:
        seed: Seed of the training.
        step: Number of the step.
        device: The device that the model computes on.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(Random(f"dropout/{seed}/{step}").getrandbits(63))
        yield
