"""Distillation without labels: every subnet learns the full encoder's own query vectors.

Each step trains all subnets on the same queries, because sampling subnets at random trains each of them more noisily:
one pass through the first layers and one backward pass for each width, as the depths of a width share these layers;
gradients add up over the widths, then the optimiser takes one step. Passages are never encoded again: the vector space
stays that of the full encoder.

Small subnets lose more than large ones; `subnet_training` says how their losses are weighted.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.progress import Progress
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.batches import Batch
from elasticdenser.training.data import TextOrder, TrainingData
from elasticdenser.training.difficulty import DifficultySampling, subnet_cosines
from elasticdenser.training.loop import RunningMeans, TrainingLoop
from elasticdenser.training.losses import DistillationLoss
from elasticdenser.training.settings import DistilSettings
from elasticdenser.training.subnet_training import SubnetLoop, SubnetOptimiser, trained_subnets


class Distillation(SubnetLoop, TrainingLoop[DistilSettings]):
    """Training of the subnets of a model.

    Args:
        model: The model; trained in place.
        data: Queries, targets and passages.
        settings: Settings of the training.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another model.
        QueryError: The model does not have one of the subnets in the settings.
        BuildError: A file of the texts drawn by difficulty is damaged, or cannot be written.
    """

    activity = "Training"

    def __init__(
        self,
        model: ElasticBert,
        data: TrainingData,
        settings: DistilSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(data, settings, folder, device)
        self.model = model
        self._cosines = RunningMeans()
        self._sampling = None
        if settings.difficulty:
            self._sampling = DifficultySampling(len(data), settings, self.folder / "difficulty")
            self._difficulty_subnet = _difficulty_subnet(model, settings)
        model.to(self.device).train()
        model.tokens.requires_grad_(settings.tune_tokens)
        if model.shape.level0:
            model.table.requires_grad_(False)  # trained by `TableTuning`
        self.optimiser = SubnetOptimiser(model, settings)
        self.resume()

    @property
    def cosines(self) -> dict[str, float]:
        """Mean cosine to the targets by subnet, over the last steps of this process."""
        return self._cosines.values

    def depends_on_weights(self, step: int) -> bool:
        """Return whether difficulty is estimated at a step."""
        return self._sampling is not None and self._sampling.starts_period(step)

    def text_order(self, progress: Progress) -> TextOrder | None:
        """Return the texts drawn by difficulty; None where all are read equally often."""
        if self._sampling is None:
            return None
        bfloat16 = self.settings.bfloat16
        cosines = partial(subnet_cosines, self.model, self._difficulty_subnet, self.data, bfloat16=bfloat16)
        return self._sampling.order(self.step, cosines, progress)

    def train_step(self, whole: Batch) -> None:
        """Train the subnets of this step on one batch, and let the optimiser take one step."""
        batch = parallel.local_part(whole, self.device)
        process_weight = parallel.loss_weight(batch, whole)
        self.optimiser.set_learning_rates(self.step)
        subnet_weights = self.optimiser.loss_weights()
        loss_of = DistillationLoss(batch, self.settings)
        loss_and_cosine: dict[str, Tensor] = {}
        for width, depths in self.optimiser.depths_by_width(self.step).items():
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
                vectors_by_depth = self.model.at_depths(batch.token_ids, batch.mask, width, depths)
            weighted_losses = []
            for depth, depth_vectors in vectors_by_depth.items():
                name, vectors = str(Subnet(width, depth)), F.normalize(depth_vectors.float(), dim=-1)
                loss = loss_of(vectors)
                weighted_losses.append(process_weight * subnet_weights.get(name, 1.0) * loss)
                cosine = (vectors * batch.targets).sum(dim=-1).mean()
                loss_and_cosine[name] = process_weight * torch.stack([loss, cosine]).detach()
            torch.autograd.backward(torch.stack(weighted_losses).sum())
        self.optimiser.update()
        means = torch.stack(list(loss_and_cosine.values()))
        parallel.average([means])
        for name, (loss_value, cosine_value) in zip(loss_and_cosine, means.tolist(), strict=True):
            self.optimiser.losses.add(name, loss_value)
            self._cosines.add(name, cosine_value)

    def running_losses(self) -> dict[str, Any]:
        """Return losses and cosines by subnet."""
        return super().running_losses() | {"cosine": self._cosines.values}


def _difficulty_subnet(model: ElasticBert, settings: DistilSettings) -> Subnet:
    if not settings.difficulty_subnet:
        subnets = sorted(trained_subnets(model, settings))
        return subnets[len(subnets) // 2]
    subnet = Subnet.parse(settings.difficulty_subnet)
    model.shape.check(subnet)
    return subnet
