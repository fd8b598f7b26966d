"""Steps of the training of a classifier's subnets, and of the fine-tuning of its teacher.

Each step trains all subnets, or some that are drawn, on the same examples. They learn from the labels, from the outputs
of the teacher, and from those of the largest trained subnet (in-place distillation, Yu and Huang 2019). The losses of
the exits are balanced as `subnet_training` says, after COST-EFF.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.trunk import padding_bias_of, pooled
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.classifier.data import ExampleBatch, ExampleData
from elasticdenser.training.classifier.losses import label_loss, output_loss, state_loss
from elasticdenser.training.classifier.recycled_layers import RecycledLayers
from elasticdenser.training.classifier.settings import ClassifierSettings
from elasticdenser.training.loop import StepLoop
from elasticdenser.training.subnet_training import SubnetLoop, SubnetOptimiser


class ClassifierTraining(SubnetLoop, StepLoop[ClassifierSettings, ExampleBatch]):
    """Training of a classifier.

    Args:
        model: The model; trained in place.
        data: Examples, with the teacher's outputs if there is a teacher.
        settings: Settings of the training.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.
        teacher: Fine-tuned full encoder, for `state_steps`.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another model; or the
            settings recycle layers of subnets of several widths.
        QueryError: The model does not have one of the subnets in the settings, or not with the recycled layers.

    Attributes:
        recycled: The layers that are not trained, with the cache of their states; None if all layers are.
    """

    activity = "Training"

    def __init__(
        self,
        model: ElasticLogits,
        data: ExampleData,
        settings: ClassifierSettings,
        folder: Path,
        device: torch.device | None = None,
        teacher: ElasticLogits | None = None,
    ) -> None:
        super().__init__(settings, folder, device)
        self.model, self.data = model, data
        self._teacher = None if teacher is None else teacher.to(self.device).eval()
        model.to(self.device).train()
        model.tokens.requires_grad_(settings.tune_tokens)
        self.recycled = RecycledLayers(model, settings, folder) if settings.recycled_layers else None
        self.optimiser = SubnetOptimiser(model, settings)
        self._largest = max(self.optimiser.subnets)
        self.resume()

    def read_batch(self, step: int) -> ExampleBatch:
        """Return the examples of a step."""
        settings = self.settings
        return self.data.batch(step, settings.batch, seed=settings.seed, typo_share=settings.typo_share)

    def train_step(self, whole: ExampleBatch) -> None:
        """Train the subnets of this step on one batch, and let the optimiser take one step."""
        batch = whole.part(parallel.local_rows(len(whole)), self.device)
        share = parallel.part_weight(len(batch), len(whole))
        self.optimiser.set_learning_rates(self.step)
        weights = self.optimiser.loss_weights()
        always = self._largest if self.settings.inplace_share else None
        losses = _StepLosses(batch, self.settings, self._target_states(batch), self._largest)
        lower = None if self.recycled is None else self.recycled.states_of(batch)
        values: dict[str, Tensor] = {}
        for width, depths in self.optimiser.depths_by_width(self.step, always=always).items():  # from large to small
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
                states = self.model.states_at_depths(batch.token_ids, batch.mask, width, depths, lower)
            weighted = []
            for depth in sorted(states, reverse=True):
                subnet = Subnet(width, depth)
                vectors = pooled(states[depth].float(), batch.mask, self.model.shape.pooling)
                outputs = F.linear(vectors, *self.model.exit_of(subnet))
                loss = losses.of(subnet, outputs, states[depth].float())
                weighted.append(share * weights.get(str(subnet), 1.0) * loss)
                values[str(subnet)] = share * loss.detach()
            torch.autograd.backward(torch.stack(weighted).sum())
        self.take_step(values)

    def _save(self) -> None:
        super()._save()
        if self.recycled is not None:
            self.recycled.cache.flush()

    @torch.no_grad()
    def _target_states(self, batch: ExampleBatch) -> dict[int, Tensor]:
        """Return the teacher's hidden states after the last layer of each depth, in the steps that match them.

        Not its last states for all depths: to get these after the first layer, it would lose what the next layers need.
        """
        teacher = self._teacher
        if teacher is None or self.step >= self.settings.state_steps:
            return {}
        states, padding_bias = [teacher.embedded(batch.token_ids, 1.0)], padding_bias_of(batch.mask)
        for layer in range(teacher.shape.n_layers):
            states.append(teacher.run_layers((layer,), states[-1], padding_bias, 1.0))
        last_layers = {depth: max(sum(self.model.layers_of(depth), ())) for depth in self.model.shape.depths}
        return {depth: states[layer + 1] for depth, layer in last_layers.items()}


class _StepLosses:
    """Losses of the subnets in one step; the largest comes first where others learn from it."""

    def __init__(
        self, batch: ExampleBatch, settings: ClassifierSettings, target_states: dict[int, Tensor], largest: Subnet
    ) -> None:
        self._batch, self._settings, self._target_states = batch, settings, target_states
        self._largest = largest
        self._largest_outputs: Tensor | None = None

    def of(self, subnet: Subnet, outputs: Tensor, states: Tensor) -> Tensor:
        """Return the loss of a subnet, from its outputs and hidden states."""
        batch, settings = self._batch, self._settings
        if self._target_states:
            return state_loss(states, self._target_states[subnet.depth], batch.mask)
        loss = settings.label_weight * label_loss(outputs, batch.labels)
        if batch.targets is not None and settings.teacher_weight:
            loss = loss + settings.teacher_weight * output_loss(outputs, batch.targets, settings.temperature)
        if subnet == self._largest:
            self._largest_outputs = outputs.detach()
        elif self._largest_outputs is not None and settings.inplace_share:
            inplace = output_loss(outputs, self._largest_outputs, settings.temperature)
            loss = (1 - settings.inplace_share) * loss + settings.inplace_share * inplace
        return loss
