"""Steps of a training of intents and slots, from labels and from the outputs of a teacher.

The loss of the intent, and the mean loss over the words of their tags, are added up; each is the cross-entropy of the
labels, the divergence from the teacher (Hinton, Vinyals and Dean 2015), or both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.models.intent_model import IntentModel
from elasticdenser.training import parallel
from elasticdenser.training.classifier.losses import output_loss
from elasticdenser.training.intent.data import IGNORED, IntentBatch, UtteranceData
from elasticdenser.training.intent.settings import IntentStepSettings
from elasticdenser.training.loop import RunningMeans, StepLoop
from elasticdenser.training.one_model import OneModel, random_numbers_of_step

_BETAS = 0.9, 0.98


class IntentTraining(OneModel, StepLoop[IntentStepSettings, IntentBatch]):
    """Training of a model.

    Args:
        model: The model; trained in place.
        data: Utterances, with the teacher's outputs if there is a teacher.
        settings: Settings of the training.
        folder: Folder of the checkpoint and the log of losses.
        device: Where to compute; None is the CPU.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another model.
    """

    activity = "Training"

    def __init__(
        self,
        model: IntentModel,
        data: UtteranceData,
        settings: IntentStepSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(settings, folder, device)
        self.model, self.data = model.to(self.device).train(), data
        self.means = RunningMeans()
        self.optimiser = torch.optim.AdamW(_parameter_groups(model, settings), betas=_BETAS, fused=True)
        self.resume()

    def read_batch(self, step: int) -> IntentBatch:
        """Return the utterances of a step."""
        settings = self.settings
        return self.data.batch(step, settings.batch, seed=settings.seed, typo_share=settings.typo_share)

    def train_step(self, whole: IntentBatch) -> None:
        """Train the model on one batch."""
        batch = whole.part(parallel.local_rows(len(whole)), self.device)
        share = parallel.part_weight(len(batch), len(whole))
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * self.settings.learning_rate_share(self.step)
        with random_numbers_of_step(self.settings.seed, self.step, self.device):
            intents, tags = self.model(batch.inputs)
        loss = share * batch_loss(intents, tags, batch, self.settings)
        torch.autograd.backward(loss)
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        parallel.average([parameter.grad for parameter in trained if parameter.grad is not None])
        nn.utils.clip_grad_norm_(trained, self.settings.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        mean = loss.detach()
        parallel.average([mean])
        self.means.add("loss", float(mean))


def batch_loss(intents: Tensor, tags: Tensor, batch: IntentBatch, settings: IntentStepSettings) -> Tensor:
    """Return the loss of a batch.

    Args:
        intents: Logits of the intents, (n, n_intents).
        tags: Logits of the tags of the words, (n, n_words, n_tags).
        batch: Labels, and the teacher's outputs if there is one.
        settings: Weights and temperature.
    """
    present = batch.tags != IGNORED
    words = tags[present]
    loss = settings.label_weight * (
        F.cross_entropy(intents, batch.intents) + F.cross_entropy(words, batch.tags[present])
    )
    if batch.target_intents is not None and batch.target_tags is not None and settings.teacher_weight:
        from_intents = output_loss(intents, batch.target_intents, settings.temperature)
        from_tags = output_loss(words, batch.target_tags[present], settings.temperature)
        loss = loss + settings.teacher_weight * (from_intents + from_tags)
    return loss


def _parameter_groups(model: IntentModel, settings: IntentStepSettings) -> list[dict[str, Any]]:
    """Group the weights by learning rate and decay; `highest` is the rate that the schedule scales."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_head = name.startswith(("intent_head", "tag_head"))
            rate = (settings.head_learning_rate if is_head else 0.0) or settings.learning_rate
            is_matrix = parameter.dim() > 1 and "norm" not in name and "bias" not in name
            groups.setdefault((rate, settings.weight_decay if is_matrix else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "highest": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
