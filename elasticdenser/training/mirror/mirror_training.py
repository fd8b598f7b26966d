"""Steps of a mirror training: two readings of every text, with different dropout, against the other texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.encoders.backends.padding import length_buckets, padded, pooled
from elasticdenser.encoders.backends.transformers import padding_token
from elasticdenser.training.loop import RunningMeans, StepLoop
from elasticdenser.training.mirror.data import MirrorData
from elasticdenser.training.mirror.recipe import MirrorSettings
from elasticdenser.training.one_model import OneModel, random_numbers_of_step


def mirror_loss(vectors: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE loss of two readings of each text, both ways (the NT-Xent of Chen et al. 2020).

    The similarity of a vector to that of the other reading of its text is compared with those to all other vectors.

    Args:
        vectors: (2 * n, dim), those of the first readings, then those of the second ones in the same order.
        temperature: Temperature of the cosines.
    """
    n = len(vectors) // 2
    unit = F.normalize(vectors.float(), dim=-1)
    scores = unit @ unit.T / temperature
    scores = scores.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=scores.device), -torch.inf)
    return F.cross_entropy(scores, torch.arange(2 * n, device=scores.device).roll(n))


class MirrorTraining(OneModel, StepLoop[MirrorSettings, list[list[int]]]):
    """Mirror training of a transformer.

    Args:
        model: The transformer, a model of transformers; trained in place.
        data: The texts.
        settings: Settings of the steps.
        folder: Folder of the checkpoint and the log of losses.
        pooling: One of `POOLINGS`.
        device: Where to compute; None is the CPU.

    Raises:
        BadInputError: The folder holds a training with other settings, or a checkpoint of another model.
    """

    activity = "Training"

    def __init__(
        self,
        model: Any,
        data: MirrorData,
        settings: MirrorSettings,
        folder: Path,
        *,
        pooling: str,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(settings, folder, device)
        self.model, self.data, self._pooling = model.to(self.device).train(), data, pooling
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = settings.dropout
        self._padding = padding_token(model.config, int(model.get_input_embeddings().weight.shape[0]))
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.means = RunningMeans()
        self.resume()

    def read_batch(self, step: int) -> list[list[int]]:
        """Return the token ids of both readings of the texts of a step."""
        return self.data.batch(step)

    def train_step(self, whole: list[list[int]]) -> None:
        """Take one optimiser step."""
        settings = self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * settings.learning_rate_share(self.step)
        with random_numbers_of_step(settings.seed, self.step, self.device):
            loss = mirror_loss(self._vectors(whole), settings.temperature)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.means.add("loss", loss.item())

    def _vectors(self, sequences: list[list[int]]) -> Tensor:
        """Return (n_sequences, hidden); texts of similar lengths are computed together, which saves padding."""
        buckets = length_buckets(list(map(len, sequences)), self.device.type)
        parts = [self._pooled([sequences[number] for number in bucket]) for bucket in buckets]
        order = torch.tensor([number for bucket in buckets for number in bucket]).argsort()
        return torch.cat(parts)[order.to(self.device)]

    def _pooled(self, sequences: list[list[int]]) -> Tensor:
        token_ids, mask = (tensor.to(self.device) for tensor in padded(sequences, self._padding))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bfloat16):
            states = self.model(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
        return pooled(states.float(), mask, self._pooling)
