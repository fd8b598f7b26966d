"""Training of level 0: a table whose averaged token vectors point where the full encoder's query vectors do.

It starts as `fit_table` leaves it. What counts is a direction, which least squares do not see, so it is then tuned by
gradients with the losses of distillation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.progress import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.data import Batch, TrainingData
from elasticdenser.training.losses import alignment, log_scores, score_distribution
from elasticdenser.training.steps import StepSettings, keep, restore

_BETAS = 0.9, 0.999


@dataclass(frozen=True, kw_only=True)
class TableSettings(StepSettings):
    """How a table is tuned: see `StepSettings`. Token vectors have lengths of about 1."""

    learning_rate: float = 2e-3
    final_share: float = 0.05
    warm_up: int = 20
    n_random: int = 256


class TableTuning:
    """A tuning run that can be stopped at any moment and goes on where its last checkpoint stands.

    What a step does depends on the settings and its number alone, so an interrupted run ends as an uninterrupted one.

    Attributes:
        vectors: float32, (n_tokens, dim): what is tuned.
        step: How many steps were taken.

    Args:
        vectors: What to start from, as `fit_table` gives it; not changed.
        data: Queries, targets and passages.
        settings: How.
        folder: Where checkpoint and losses go.
        device: Where to compute.

    Raises:
        BadInputError: The folder holds a run with other settings, or its checkpoint is not of such a table.
    """

    def __init__(
        self,
        vectors: Tensor,
        data: TrainingData,
        settings: TableSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        self.data, self.settings, self.folder = data, settings, folder
        self.device = device or torch.device("cpu")
        self.vectors = vectors.detach().float().to(self.device, copy=True)
        self.step = 0
        self._optimiser = _RowAdam(self.vectors)
        self._means: dict[str, float] = {}
        restore(folder, settings, self.device, self._resume)

    def run(self, *, until: int | None = None, save_every_s: float = 300, progress: Progress = silent) -> None:
        """Tune until the last step, or until step `until`, and leave a checkpoint.

        Args:
            until: Where to stop before the end.
            save_every_s: Seconds between checkpoints.
            progress: Called with (what, done, of how many) after every step.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        saved = monotonic()
        while self.step < last:
            self._tune()
            self.step += 1
            progress("Tuning level 0", self.step, self.settings.steps)
            if monotonic() - saved > save_every_s:
                self._save()
                saved = monotonic()
        self._save()

    def _tune(self) -> None:
        settings = self.settings
        whole = self.data.batch(
            self.step,
            settings.batch,
            seed=settings.seed,
            typo_share=settings.typo_share,
            n_random=settings.n_random,
        )
        # Of the whole batch: with several processes all of them change the same rows.
        rows = torch.unique(whole.token_ids[whole.mask]).to(self.device)
        batch = parallel.my_part(whole, self.device)
        counts_for = parallel.share_of(batch, whole)
        part = self.vectors[rows].requires_grad_()
        found = F.normalize(_means_of(part, rows, batch), dim=-1)
        loss = alignment(found, batch.targets)
        if settings.score_weight:
            scores = score_distribution(
                *(log_scores(vectors, batch.bank, settings.temperature) for vectors in (found, batch.targets))
            )
            loss = loss + settings.score_weight * scores
        (gradient,) = torch.autograd.grad(counts_for * loss, part)
        seen = counts_for * torch.stack([loss.detach(), (found.detach() * batch.targets).sum(dim=-1).mean()])
        parallel.average([gradient, seen])
        self._optimiser.change(self.vectors, rows, gradient, settings.learning_rate * settings.share_at(self.step))
        for name, value in zip(("loss", "cosine"), seen.tolist(), strict=True):
            self._means[name] = 0.98 * self._means.get(name, value) + 0.02 * value

    def _resume(self, kept: Mapping[str, Any]) -> None:
        self.vectors.copy_(kept["vectors"])
        self._optimiser.load(kept["optimiser"])
        self._means = dict(kept["means"])
        self.step = int(kept["step"])

    def _save(self) -> None:
        if not parallel.is_first():
            return
        state = {
            "step": self.step,
            "means": self._means,
            "vectors": self.vectors,
            "optimiser": self._optimiser.state(),
        }
        keep(self.folder, self.settings, state, {"step": self.step, **self._means})


def _means_of(part: Tensor, rows: Tensor, batch: Batch) -> Tensor:
    """Return the mean token vector of each text; `part` are the vectors of the tokens `rows`, which rise."""
    lengths = batch.mask.sum(dim=1)
    token_ids = torch.searchsorted(rows, batch.token_ids[batch.mask])
    return F.embedding_bag(token_ids, part, lengths.cumsum(0) - lengths, mode="mean")


class _RowAdam:
    """Adam (Kingma and Ba 2015) that leaves tokens which a batch does not have as they are, their moments too.

    Most tokens are rare: decaying their moments at every step would forget all but the last gradient, and take ten
    times as long.

    Args:
        vectors: Of the shape of what is tuned.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._first, self._second = torch.zeros_like(vectors), torch.zeros_like(vectors)
        self._counts = torch.zeros(len(vectors), 1, device=vectors.device)

    def change(self, vectors: Tensor, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Take a step in the rows that have a gradient, in place."""
        counts = self._counts[rows] + 1
        first = torch.lerp(gradient, self._first[rows], _BETAS[0])
        second = torch.lerp(gradient.square(), self._second[rows], _BETAS[1])
        self._counts[rows], self._first[rows], self._second[rows] = counts, first, second
        first, second = first / (1 - _BETAS[0] ** counts), second / (1 - _BETAS[1] ** counts)
        vectors[rows] -= rate * first / (second.sqrt() + 1e-12)

    def state(self) -> dict[str, Tensor]:
        return {"first": self._first, "second": self._second, "counts": self._counts}

    def load(self, state: dict[str, Tensor]) -> None:
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._counts.copy_(state["counts"])
