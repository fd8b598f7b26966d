"""Distillation without labels: every size of the elastic encoder learns the full encoder's own query vectors.

At each step all sizes are trained on the same queries (sampling sizes at random trains each one more noisily): for
each width one pass through the first layers, which its depths share, and one backward pass; gradients add up over the
widths, then the optimiser takes one step. Passages are never encoded anew: the space stays that of the full encoder.

Small sizes have large losses that never go away, and they share their layers with the large ones, whose small losses
they would drown. So a size counts by its running loss to the power of -`equilibrium`: 0 counts all alike, 1 lets the
same *relative* gain of every size count alike (after the gradient equilibrium of COST-EFF, Shen et al. 2022, whose
factors by depth would do nothing here: the optimiser divides every weight's gradient by its own size).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.data import Batch, TrainingData
from elasticdenser.training.losses import alignment, log_scores, score_distribution
from elasticdenser.training.steps import StepSettings, keep, restore


@dataclass(frozen=True, kw_only=True)
class DistilSettings(StepSettings):
    """How a model is trained: see `StepSettings` for what is not listed here.

    Args:
        learning_rate: Highest, of the shared weights.
        exit_learning_rate: Highest, of exits and layer norms, which each serve few sizes.
        weight_decay: Of matrices; norms and biases have none.
        clip: Greatest norm of the gradient.
        equilibrium: How far sizes with small losses are kept from being drowned, from 0 to 1.
        tune_tokens: Whether token vectors are trained too.
        bfloat16: Whether matrix products run in bfloat16.
        sizes: Only these are trained, such as ("w0.5-d3",); none named is all of them.
        n_sampled: Sizes that are drawn at random for each step; 0 trains all of them.

    Raises:
        BadInputError: A number is out of range.
    """

    learning_rate: float = 2e-4
    exit_learning_rate: float = 5e-4
    final_share: float = 0.02
    warm_up: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    equilibrium: float = 0.5
    n_random: int = 512
    tune_tokens: bool = False
    bfloat16: bool = True
    sizes: tuple[str, ...] = ()
    n_sampled: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.expect_shares("equilibrium")
        self.expect_above_0("exit_learning_rate", "clip")
        self.expect_from_0("weight_decay", "n_sampled")


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
        self._sizes = _trained_sizes(model, settings)
        self._losses, self._cosines = _Running(), _Running()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._ahead: dict[int, Future[Batch]] = {}
        model.to(self.device).train()
        model.tokens.requires_grad_(settings.tune_tokens)
        if model.shape.level0:
            model.table.requires_grad_(False)  # it has a training of its own
        self._optimiser = torch.optim.AdamW(_groups(model, settings), betas=(0.9, 0.98), fused=True)
        restore(folder, settings, self.device, self._resume)

    def run(self, *, until: int | None = None, save_every_s: float = 300, progress: Progress = silent) -> None:
        """Train until the last step, or until step `until`, and leave a checkpoint.

        Args:
            until: Where to stop before the end.
            save_every_s: Seconds between checkpoints.
            progress: Called with (what, done, of how many) after every step.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        saved = monotonic()
        while self.step < last:
            self._train()
            self.step += 1
            progress("Training", self.step, self.settings.steps)
            if monotonic() - saved > save_every_s:
                self._save()
                saved = monotonic()
        self._save()

    @property
    def cosines(self) -> dict[str, float]:
        """Mean cosine to the targets by size, over the last steps of this process."""
        return self._cosines.by_name()

    def _train(self) -> None:
        whole = self._batch_at(self.step)
        batch = parallel.my_part(whole, self.device)
        counts_for = parallel.share_of(batch, whole)
        share = self.settings.share_at(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * share
        counts = self._counts()
        # Once for all sizes.
        wanted = log_scores(batch.targets, batch.bank, self.settings.temperature)
        seen: dict[Subnet, Tensor] = {}
        for width, depths in self._sizes_at(self.step).items():
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
                found = self.model.at_depths(batch.token_ids, batch.mask, width, depths)
            weighted = []
            for depth, raw in found.items():
                vectors, subnet = F.normalize(raw.float(), dim=-1), Subnet(width, depth)
                loss = self._loss(vectors, batch, wanted)
                weighted.append(counts_for * counts.get(subnet, 1.0) * loss)
                cosine = (vectors * batch.targets).sum(dim=-1).mean()
                seen[subnet] = counts_for * torch.stack([loss, cosine]).detach()
            torch.autograd.backward(torch.stack(weighted).sum())
        parallel.average([parameter.grad for parameter in self.model.parameters() if parameter.grad is not None])
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()
        together = torch.stack(list(seen.values()))
        parallel.average([together])
        for subnet, (loss_of_size, cosine_of_size) in zip(seen, together.tolist(), strict=True):
            self._losses.add(subnet, loss_of_size)
            self._cosines.add(subnet, cosine_of_size)

    def _batch_at(self, step: int) -> Batch:
        """Return the batch of a step; the next one is read meanwhile."""
        ahead = self._ahead.pop(step, None) or self._reader.submit(self._read, step)
        batch = ahead.result()
        if step + 1 < self.settings.steps:
            self._ahead = {step + 1: self._reader.submit(self._read, step + 1)}
        return batch

    def _read(self, step: int) -> Batch:
        settings = self.settings
        return self.data.batch(
            step, settings.batch, seed=settings.seed, typo_share=settings.typo_share, n_random=settings.n_random
        )

    def _sizes_at(self, step: int) -> dict[float, list[int]]:
        """Return the depths that are trained at a step by width."""
        sizes = self._sizes
        if 0 < self.settings.n_sampled < len(sizes):
            sizes = Random(f"{self.settings.seed}/{step}").sample(sizes, self.settings.n_sampled)
        chosen: dict[float, list[int]] = {}
        for subnet in sorted(sizes, reverse=True):
            chosen.setdefault(subnet.width, []).append(subnet.depth)
        return chosen

    def _counts(self) -> dict[Subnet, float]:
        """Return by how much each size's loss counts: 1 on average."""
        losses = self._losses.means()
        if not losses:
            return {}
        counts = {subnet: max(loss, 1e-6) ** -self.settings.equilibrium for subnet, loss in losses.items()}
        mean = sum(counts.values()) / len(counts)
        return {subnet: count / mean for subnet, count in counts.items()}

    def _loss(self, vectors: Tensor, batch: Batch, wanted: Tensor) -> Tensor:
        loss = alignment(vectors, batch.targets)
        if self.settings.score_weight:
            found = log_scores(vectors, batch.bank, self.settings.temperature)
            loss = loss + self.settings.score_weight * score_distribution(found, wanted)
        return loss

    def _resume(self, kept: Mapping[str, Any]) -> None:
        self.model.load_state_dict(kept["model"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._losses = _Running(kept["losses"])
        self.step = int(kept["step"])

    def _save(self) -> None:
        if not parallel.is_first():
            return
        losses, cosines = self._losses.by_name(), self._cosines.by_name()
        state = {
            "step": self.step,
            "losses": losses,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        line = {"step": self.step, "loss": losses, "cosine": cosines}
        keep(self.folder, self.settings, state, line if cosines else None)


class _Running:
    """Exponential means by size."""

    def __init__(self, means: Mapping[str, float] | None = None) -> None:
        self._means = {Subnet.parse(name): value for name, value in (means or {}).items()}

    def add(self, subnet: Subnet, value: float) -> None:
        self._means[subnet] = 0.98 * self._means.get(subnet, value) + 0.02 * value

    def means(self) -> dict[Subnet, float]:
        return self._means

    def by_name(self) -> dict[str, float]:
        return {str(subnet): value for subnet, value in self._means.items()}


def _trained_sizes(model: ElasticBert, settings: DistilSettings) -> list[Subnet]:
    sizes = [Subnet.parse(name) for name in settings.sizes] or model.shape.grid
    for subnet in sizes:
        model.shape.check(subnet)
    return sizes


def _groups(model: ElasticBert, settings: DistilSettings) -> list[dict[str, Any]]:
    """Sort the weights by learning rate and decay; `highest` is the rate that the schedule scales."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_private = name.startswith(("exit", "shortcuts")) or "norm" in name
        is_matrix = "bias" not in name and "norm" not in name
        rate = settings.exit_learning_rate if is_private else settings.learning_rate
        groups.setdefault((rate, settings.weight_decay if is_matrix else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "highest": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
