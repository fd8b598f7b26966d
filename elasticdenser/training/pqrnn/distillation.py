"""Distillation without labels: a pQRNN learns the teacher's query vectors."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from elasticdenser.models.pqrnn import PQRNNVectors
from elasticdenser.training import parallel
from elasticdenser.training.batches import Batch
from elasticdenser.training.data import TrainingData
from elasticdenser.training.loop import RunningMeans, TrainingLoop
from elasticdenser.training.losses import DistillationLoss
from elasticdenser.training.one_model import OneModel, random_numbers_of_step
from elasticdenser.training.pqrnn.recipe import PQRNNSteps
from elasticdenser.training.pqrnn.words import WordReader


class PQRNNDistillation(OneModel, TrainingLoop[PQRNNSteps]):
    """Training of a pQRNN; typing errors of the queries are part of it (`typo_share`).

    Args:
        model: The model; trained in place.
        data: Queries as `words` reads them, targets and passages.
        words: Features of the words.
        settings: Settings of the steps.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another model.
    """

    activity = "Training"

    def __init__(
        self,
        model: PQRNNVectors,
        data: TrainingData,
        words: WordReader,
        settings: PQRNNSteps,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(data, settings, folder, device)
        self.model, self._words = model.to(self.device).train(), words
        matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
        biases = [parameter for parameter in model.parameters() if parameter.dim() == 1]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        self.means = RunningMeans()
        self.resume()

    def train_step(self, whole: Batch) -> None:
        """Train on one batch."""
        settings, batch = self.settings, parallel.local_part(whole, self.device)
        process_weight = parallel.loss_weight(batch, whole)
        features = self._words.features(batch.token_ids.cpu()).to(self.device)
        with random_numbers_of_step(settings.seed, self.step, self.device):
            vectors = F.normalize(self.model(features, batch.mask), dim=-1)
        loss = process_weight * DistillationLoss(batch, settings)(vectors)
        loss.backward()  # type: ignore[no-untyped-call]
        cosine = process_weight * (vectors.detach() * batch.targets).sum(dim=-1).mean()
        values = torch.stack([loss.detach(), cosine])
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        parallel.average([*gradients, values])
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * settings.learning_rate_share(self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        for name, value in zip(("loss", "cosine"), values.tolist(), strict=True):
            self.means.add(name, value)
