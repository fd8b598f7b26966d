"""Tuning of level 0: a token table whose averaged vectors point where the full encoder's query vectors do.

It starts from the result of `fit_table`. Vectors are compared by direction, which least squares do not see, so the
table is then tuned by gradients with the losses of the distillation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.training import parallel
from elasticdenser.training.batches import Batch
from elasticdenser.training.data import TrainingData
from elasticdenser.training.loop import RunningMeans, TrainingLoop
from elasticdenser.training.losses import DistillationLoss
from elasticdenser.training.settings import TableSettings

_BETAS = 0.9, 0.999
_EPSILON = 1e-12
"""Far below Adam's usual 1e-8: gradients of rare tokens are small, and must not be damped."""


class TableTuning(TrainingLoop[TableSettings]):
    """Training of the token vectors of level 0.

    Attributes:
        vectors: float32, (n_tokens, dim): the token vectors so far.

    Args:
        vectors: Token vectors to start from, as `fit_table` returns them; not changed.
        data: Queries, targets and passages.
        settings: Settings of the tuning.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another table.
    """

    activity = "Tuning level 0"

    def __init__(
        self,
        vectors: Tensor,
        data: TrainingData,
        settings: TableSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(data, settings, folder, device)
        self.vectors = vectors.detach().float().to(self.device, copy=True)
        self._optimiser = _SparseAdam(self.vectors)
        self._means = RunningMeans()
        self.resume()

    def train_step(self, whole: Batch) -> None:
        """Change the vectors of the tokens in one batch by one step of the optimiser."""
        # The tokens of the whole batch: with several processes all of them change the same rows.
        rows = torch.unique(whole.token_ids[whole.mask]).to(self.device)
        batch = parallel.local_part(whole, self.device)
        process_weight = parallel.loss_weight(batch, whole)
        row_vectors = self.vectors[rows].requires_grad_()
        query_vectors = F.normalize(_mean_vectors(row_vectors, rows, batch), dim=-1)
        loss = DistillationLoss(batch, self.settings)(query_vectors)
        (gradient,) = torch.autograd.grad(process_weight * loss, row_vectors)
        cosine = (query_vectors.detach() * batch.targets).sum(dim=-1).mean()
        figures = process_weight * torch.stack([loss.detach(), cosine])
        parallel.average([gradient, figures])
        learning_rate = self.settings.learning_rate * self.settings.learning_rate_share(self.step)
        self._optimiser.step(self.vectors, rows, gradient, learning_rate)
        for name, value in zip(("loss", "cosine"), figures.tolist(), strict=True):
            self._means.add(name, value)

    def state(self) -> dict[str, Any]:
        """Return vectors, optimiser and running means."""
        return {"means": self._means.values, "vectors": self.vectors, "optimiser": self._optimiser.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.vectors.copy_(state["vectors"])
        self._optimiser.load_state(state["optimiser"])
        self._means = RunningMeans(state["means"])

    def running_losses(self) -> dict[str, Any]:
        """Return loss and cosine."""
        return dict(self._means.values)


def _mean_vectors(row_vectors: Tensor, rows: Tensor, batch: Batch) -> Tensor:
    """Return the mean token vector of each text.

    Args:
        row_vectors: (n_rows, dim): vectors of the tokens `rows`.
        rows: (n_rows,), rising: ids of all tokens in the batch.
        batch: The texts.
    """
    lengths = batch.mask.sum(dim=1)
    row_numbers = torch.searchsorted(rows, batch.token_ids[batch.mask])
    return F.embedding_bag(row_numbers, row_vectors, lengths.cumsum(0) - lengths, mode="mean")


class _SparseAdam:
    """Adam (Kingma and Ba 2015) that leaves tokens outside the batch unchanged, their moments included.

    Most tokens are rare: decaying their moments at every step would forget all but the last gradient, and take ten
    times as long.

    Args:
        vectors: Tensor of the shape of what is tuned.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._first, self._second = torch.zeros_like(vectors), torch.zeros_like(vectors)
        self._counts = torch.zeros(len(vectors), 1, device=vectors.device)

    def step(self, vectors: Tensor, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Change the rows that have a gradient, in place."""
        counts = self._counts[rows] + 1
        first = torch.lerp(gradient, self._first[rows], _BETAS[0])
        second = torch.lerp(gradient.square(), self._second[rows], _BETAS[1])
        self._counts[rows], self._first[rows], self._second[rows] = counts, first, second
        first, second = first / (1 - _BETAS[0] ** counts), second / (1 - _BETAS[1] ** counts)
        vectors[rows] -= learning_rate * first / (second.sqrt() + _EPSILON)

    def state(self) -> dict[str, Tensor]:
        return {"first": self._first, "second": self._second, "counts": self._counts}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._counts.copy_(state["counts"])
