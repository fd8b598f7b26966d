"""Distillation without labels: every size of the elastic encoder learns the full encoder's own query vectors.

At each step all sizes are trained on the same queries (sampling sizes at random trains each one more noisily): for
each width one pass through the first layers, which its depths share, and one backward pass; gradients add up over the
widths, then the optimiser takes one step. Passages are never encoded anew: the space stays that of the full encoder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.subnet import Subnet
from elasticdenser.training.data import Batch, TrainingData
from elasticdenser.training.losses import alignment, score_distribution

CHECKPOINT = "checkpoint.pt"
LOG = "losses.jsonl"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class DistilSettings:
    """How a model is trained.

    Args:
        steps: Optimiser steps.
        batch: Queries a step.
        learning_rate: Highest, of the shared weights.
        exit_learning_rate: Highest, of exits and layer norms, which each serve few sizes.
        final_share: What is left of the learning rates at the end of their cosine.
        warm_up: Steps until the highest learning rate.
        weight_decay: Of matrices; norms and biases have none.
        clip: Greatest norm of the gradient.
        score_weight: Weight of the score distribution against the alignment.
        temperature: Of the score distribution.
        typo_share: Share of the queries that get typing errors; their targets are those of the clean text.
        n_random: Random passages in a batch's bank, beside the nearest ones.
        tune_tokens: Whether token vectors are trained too.
        bfloat16: Whether matrix products run in bfloat16.
        seed: Of everything drawn at random.
    """

    steps: int
    batch: int = 128
    learning_rate: float = 1e-4
    exit_learning_rate: float = 3e-4
    final_share: float = 0.05
    warm_up: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    score_weight: float = 0.2
    temperature: float = 0.03
    typo_share: float = 0.1
    n_random: int = 512
    tune_tokens: bool = False
    bfloat16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1:
            raise BadInputError(f"got {self.steps} steps of {self.batch} queries; expected at least 1 of each")
        if not 0 <= self.typo_share <= 1:
            raise BadInputError(f"got typo_share = {self.typo_share}; expected a share from 0 to 1")

    def share_at(self, step: int) -> float:
        """Return the share of the highest learning rate at a step: a linear warm-up, then a cosine."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(1.0, done))) / 2


class Distillation:
    """A training run that can be stopped at any moment and goes on where its last checkpoint stands.

    What a step does depends on the settings and its number alone, so an interrupted run ends as an uninterrupted one.

    Args:
        model: Trained in place.
        data: Queries, targets and passages.
        settings: How.
        folder: Where checkpoint and losses go.
        device: Where to compute.

    Raises:
        BadInputError: The folder holds a run with other settings, or its checkpoint is not of this model.
    """

    def __init__(
        self,
        model: ElasticBert,
        data: TrainingData,
        settings: DistilSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        self.model, self.data, self.settings, self.folder = model, data, settings, folder
        self.device = device or torch.device("cpu")
        self.step = 0
        model.to(self.device).train()
        model.tokens.requires_grad_(settings.tune_tokens)
        self._optimiser = torch.optim.AdamW(_groups(model, settings), betas=(0.9, 0.98), fused=True)
        with explained_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, *, until: int | None = None, save_every_s: float = 300, progress: Progress | None = None) -> None:
        """Train until the last step, or until step `until`, and leave a checkpoint.

        Args:
            until: Where to stop before the end.
            save_every_s: Seconds between checkpoints.
            progress: Called with (what, done, of how many) after every step.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        saved, cosines = monotonic(), _Running()
        while self.step < last:
            cosines.add(self._train())
            self.step += 1
            if progress is not None:
                progress(f"training (cosine {cosines.mean():.4f})", self.step, self.settings.steps)
            if monotonic() - saved > save_every_s:
                self._save(cosines)
                saved = monotonic()
        self._save(cosines)

    def _train(self) -> dict[Subnet, float]:
        """Take one step and return the mean cosine to the targets by size."""
        batch = self.data.batch(
            self.step,
            self.settings.batch,
            seed=self.settings.seed,
            typo_share=self.settings.typo_share,
            n_random=self.settings.n_random,
        )
        batch = Batch(**{name: tensor.to(self.device) for name, tensor in vars(batch).items()})
        share = self.settings.share_at(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * share
        cosines = {}
        for width in self.model.shape.widths:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
                found = self.model.at_depths(batch.token_ids, batch.mask, width, self.model.shape.depths)
            losses = []
            for depth, raw in found.items():
                vectors = F.normalize(raw.float(), dim=-1)
                losses.append(self._loss(vectors, batch))
                cosines[Subnet(width, depth)] = float((vectors.detach() * batch.targets).sum(dim=-1).mean())
            torch.autograd.backward(torch.stack(losses).sum())
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        return cosines

    def _loss(self, vectors: Tensor, batch: Batch) -> Tensor:
        loss = alignment(vectors, batch.targets)
        if self.settings.score_weight:
            scores = score_distribution(vectors, batch.targets, batch.bank, self.settings.temperature)
            loss = loss + self.settings.score_weight * scores
        return loss

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            kept = torch.load(path, map_location=self.device, weights_only=True)
            settings = kept["settings"]
            if settings == asdict(self.settings):
                self.model.load_state_dict(kept["model"])
                self._optimiser.load_state_dict(kept["optimiser"])
                self.step = int(kept["step"])
                return
        except Exception as error:  # the loader has many kinds of errors
            message = f"this checkpoint cannot be used ({error}): train in another folder, or remove it"
            raise BadInputError(message, path) from error
        changed = [name for name, value in asdict(self.settings).items() if settings.get(name) != value]
        message = f"a run with another {', '.join(changed)} stands here: train in another folder, or remove it"
        raise BadInputError(message, path)

    def _save(self, cosines: _Running) -> None:
        state = {
            "step": self.step,
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        with atomic_write(self.folder / CHECKPOINT, "wb") as file:
            torch.save(state, file)
        line = {"step": self.step, "cosine": {str(subnet): round(mean, 5) for subnet, mean in cosines.means().items()}}
        if cosines.means():
            with open(self.folder / LOG, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


class _Running:
    """Exponential means of the cosines by size."""

    def __init__(self) -> None:
        self._means: dict[Subnet, float] = {}

    def add(self, values: Mapping[Subnet, float]) -> None:
        for subnet, value in values.items():
            self._means[subnet] = 0.98 * self._means.get(subnet, value) + 0.02 * value

    def means(self) -> dict[Subnet, float]:
        return self._means

    def mean(self) -> float:
        return sum(self._means.values()) / max(1, len(self._means))


def _groups(model: ElasticBert, settings: DistilSettings) -> list[dict[str, Any]]:
    """Sort the weights by learning rate and decay; `highest` is the rate that the schedule scales."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_private = name.startswith("exit") or "norm" in name
        is_matrix = "bias" not in name and "norm" not in name
        rate = settings.exit_learning_rate if is_private else settings.learning_rate
        groups.setdefault((rate, settings.weight_decay if is_matrix else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "highest": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
