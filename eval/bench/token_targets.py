"""Distillation with more of the full encoder than its vectors: the states of each token, or where tokens attend to.

The states are those before pooling, in the vector space of the encoder (the exit is applied to each token, as in
TinyBERT's hidden-state loss, Jiao et al. 2020). Attention is that of the last layer, the mean over the heads, because
narrow subnets have fewer of them and in another order; subnets of one layer do not have the last layer.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.trunk import ElasticLayer
from elasticdenser.subnet import Subnet
from elasticdenser.training.batches import Batch
from elasticdenser.training.data import TrainingData
from elasticdenser.training.distil import Distillation
from elasticdenser.training.inputs import TrainingInputs
from elasticdenser.training.settings import DistilSettings

STATES, ATTENTION = "states", "attention"

_WEIGHT = {STATES: 0.5, ATTENTION: 5.0}
"""Weights with which these losses begin at about a third of the alignment loss."""


class TokenDistillation(Distillation):
    """Distillation with an additional loss over tokens.

    Args:
        inputs: Has the full encoder.
        target: `STATES` or `ATTENTION`.
        model: As for `Distillation`.
        data: As for `Distillation`.
        settings: As for `Distillation`.
        folder: As for `Distillation`.
    """

    def __init__(
        self,
        inputs: TrainingInputs,
        target: str,
        model: ElasticBert,
        data: TrainingData,
        settings: DistilSettings,
        folder: Path,
    ) -> None:
        super().__init__(model, data, settings, folder)
        encoder = inputs.encoder
        self.teacher = elastic_from_full(encoder.location.path, encoder.settings, widths=(1.0,))
        self.target = target

    def train_step(self, whole: Batch) -> None:
        """Add the gradients of the additional loss, then take the step."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.settings.bfloat16):
            with torch.no_grad():
                (target,) = self._of_model(self.teacher, whole, 1.0, [self.teacher.shape.n_layers]).values()
            for width, depths in self.optimiser.depths_by_width(self.step).items():
                losses = []
                for value in self._of_model(self.model, whole, width, depths).values():
                    mask = whole.mask if self.target == STATES else whole.mask[:, :, None] & whole.mask[:, None]
                    losses.append((value.float() - target.float()).square()[mask].sum(dim=-1).mean())
                if losses:
                    torch.autograd.backward(_WEIGHT[self.target] * torch.stack(losses).sum())
        super().train_step(whole)

    def _of_model(self, model: ElasticBert, batch: Batch, width: float, depths: list[int]) -> dict[int, Tensor]:
        """Return the states of tokens, of length 1 on average, or the attention, by depth."""
        maps: list[Tensor] = []

        def keep_map(layer: ElasticLayer, arguments: tuple[Tensor, Tensor, int, int, int]) -> None:
            maps.append(_mean_attention(layer, *arguments[:3]))

        if self.target == STATES:
            states = model.states_at_depths(batch.token_ids, batch.mask, width, depths)
            return {
                depth: state / state.shape[-1] ** 0.5
                if model is self.teacher
                else F.linear(state, *model.exit_of(Subnet(width, depth))) / state.shape[-1] ** 0.5
                for depth, state in states.items()
            }
        handle = model.layers[-1].register_forward_pre_hook(keep_map)
        model.states_at_depths(batch.token_ids, batch.mask, width, depths)
        handle.remove()
        return dict(zip(sorted(depth for depth in depths if depth > 1), maps, strict=True))


def _mean_attention(layer: ElasticLayer, hidden: Tensor, padding_bias: Tensor, n_heads: int) -> Tensor:
    """Return the attention of a layer, the mean over its heads: (n, length, length)."""
    projected = [
        F.linear(hidden, layer.qkv[part, :n_heads].flatten(0, 1), layer.qkv_bias[part, :n_heads].flatten())
        for part in (0, 1)
    ]
    shape = (*hidden.shape[:2], n_heads, layer.head_dim)
    query, key = (part.view(shape).transpose(1, 2) for part in projected)
    scores = query @ key.transpose(-1, -2) * layer.head_dim**-0.5 + padding_bias
    attention: Tensor = scores.softmax(dim=-1).mean(dim=1)
    return attention
