"""Training of the subnets of a ranker.

Each step trains the largest subnet and all others, or some that are drawn (the sandwich rule of Yu and Huang 2019), on
the same lists. The largest learns from teachers and judgements; the others from these and from the scores of the
largest one (in-place distillation).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.batches import padded
from elasticdenser.training.loop import StepLoop
from elasticdenser.training.ranker.data import RankerBatch, RankerData
from elasticdenser.training.ranker.losses import LABEL_LOSSES, TEACHER_LOSSES, margin_mse
from elasticdenser.training.ranker.settings import RankerSettings
from elasticdenser.training.subnet_training import SubnetLoop, SubnetOptimiser

_PART_TOKENS = {"cpu": 8192}
_GPU_PART_TOKENS = 131_072
"""Tokens of the lists whose gradients are computed together, padding included: more need more memory, and are no
faster."""


class RankerTraining(SubnetLoop, StepLoop[RankerSettings, RankerBatch]):
    """Training of a ranker.

    Args:
        model: The model; trained in place.
        data: Lists by step.
        settings: Settings of the training.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another model.
        QueryError: The model does not have one of the subnets in the settings.
    """

    activity = "Training"

    def __init__(
        self,
        model: ElasticScorer,
        data: RankerData,
        settings: RankerSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(settings, folder, device)
        self.model, self.data = model, data
        self._largest = model.shape.grid[0]
        model.to(self.device).train()
        model.tokens.requires_grad_(settings.tune_tokens)
        self.optimiser = SubnetOptimiser(model, settings)
        self.resume()

    def read_batch(self, step: int) -> RankerBatch:
        """Return the lists of a step."""
        settings = self.settings
        return self.data.batch(
            step,
            settings.batch,
            settings.list_size,
            seed=settings.seed,
            typo_share=settings.typo_share,
            variant_share=settings.variant_share,
        )

    def train_step(self, whole: RankerBatch) -> None:
        """Train the subnets of this step on one batch, and let the optimiser take one step."""
        local = range(len(whole))[parallel.local_rows(len(whole))]
        self.optimiser.set_learning_rates(self.step)
        weights = self.optimiser.loss_weights()
        depths = self.optimiser.depths_by_width(self.step, always=self._largest)
        sums: dict[str, Tensor] = {}
        for part in _parts(whole, local, _PART_TOKENS.get(self.device.type, _GPU_PART_TOKENS)):
            share = len(part) / len(local) * parallel.part_weight(len(local), len(whole))
            for name, loss in self._backward(part, depths, weights, share).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + share * loss
        self.take_step(sums)

    def _backward(
        self, batch: RankerBatch, depths: Mapping[float, list[int]], weights: Mapping[str, float], share: float
    ) -> dict[str, Tensor]:
        """Add up the gradients of some lists; return the losses by subnet, detached."""
        lists = _Lists(batch, self.settings, self.device)
        losses: dict[str, Tensor] = {}
        largest: Tensor | None = None
        for width, depths_of_width in depths.items():  # from large to small
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
                outputs = self.model.at_depths(lists.token_ids, lists.mask, width, depths_of_width)
            scores = {depth: lists.as_lists(output[:, 0].float()) for depth, output in outputs.items()}
            if largest is None:
                largest = scores[self._largest.depth].detach()
            weighted = []
            for depth, depth_scores in scores.items():
                subnet = Subnet(width, depth)
                loss = lists.loss(depth_scores)
                if subnet != self._largest:
                    inplace = margin_mse(depth_scores, largest, lists.present)
                    loss = (1 - self.settings.inplace_share) * loss + self.settings.inplace_share * inplace
                weighted.append(share * weights.get(str(subnet), 1.0) * loss)
                losses[str(subnet)] = loss.detach()
            torch.autograd.backward(torch.stack(weighted).sum())
        return losses


class _Lists:
    """Input and targets of some lists, on the device to compute on."""

    def __init__(self, batch: RankerBatch, settings: RankerSettings, device: torch.device) -> None:
        token_ids, mask = padded([pair for pairs in batch.pairs for pair in pairs])
        self.token_ids, self.mask = token_ids.to(device), mask.to(device)
        counts = torch.tensor([len(pairs) for pairs in batch.pairs])
        self.present = (torch.arange(batch.targets.shape[1]) < counts[:, None]).to(device)
        targets = batch.targets.to(device) * settings.teacher_scale
        self._known = targets.isfinite() & self.present
        self._targets = targets.nan_to_num()
        labels = batch.labels.to(device)
        self._relevant, self._irrelevant = labels == 1, labels == 0
        self._settings = settings

    def as_lists(self, scores: Tensor) -> Tensor:
        """Return scores of pairs, (n_pairs,), as lists, (n_queries, list_size); 0 where there is no pair."""
        return torch.zeros(self.present.shape, device=scores.device).masked_scatter(self.present, scores)

    def loss(self, scores: Tensor) -> Tensor:
        """Return the loss towards teachers and judgements."""
        settings = self._settings
        loss = settings.teacher_weight * TEACHER_LOSSES[settings.teacher_loss](scores, self._targets, self._known)
        label_loss = LABEL_LOSSES[settings.label_loss]
        from_labels = label_loss(scores, self._relevant, self._irrelevant, settings.calibration)
        return loss + settings.label_weight * from_labels


def _parts(batch: RankerBatch, rows: range, max_tokens: int) -> list[RankerBatch]:
    """Return the lists of some rows in parts of similar length and a bounded number of tokens."""
    longest = {row: max((len(pair) for pair in batch.pairs[row]), default=0) for row in rows}
    parts: list[list[int]] = []
    for row in sorted(rows, key=lambda row: longest[row]):
        n_pairs = sum(len(batch.pairs[other]) for other in (*(parts[-1] if parts else ()), row))
        if not parts or n_pairs * longest[row] > max_tokens:
            parts.append([])
        parts[-1].append(row)
    return [batch.rows(part) for part in parts]
