"""Distillation without labels: every subnet learns the full encoder's own query vectors.

Each step trains all subnets on the same queries, because sampling subnets at random trains each of them more noisily:
one pass through the first layers and one backward pass for each width, as the depths of a width share these layers;
gradients add up over the widths, then the optimiser takes one step. Passages are never encoded again: the vector space
stays that of the full encoder.

The losses of small subnets stay large, and would outweigh the small losses of the large subnets, with which they share
layers. So the loss of a subnet has the weight running_loss ** -`equilibrium`: 0 weights all alike, 1 gives
the same *relative* gain of every subnet the same weight (after the gradient equilibrium of COST-EFF, Shen et al. 2022,
whose factors by depth would do nothing here, since AdamW divides the gradient of every weight by its own magnitude).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.encoders import resolve_dtype
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

_BETAS = 0.9, 0.98
"""Decay rates of AdamW; the second, from Vaswani et al. (2017), forgets old gradients sooner than the usual 0.999."""

_MIN_LOSS = 1e-6
"""Lower bound of a loss in the weights: the loss of an untrained full subnet is 0, as it gives exactly the targets."""


class Distillation(TrainingLoop[DistilSettings]):
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
        self._subnets = trained_subnets(model, settings)
        self._losses, self._cosines = RunningMeans(), RunningMeans()
        self._sampling = None
        if settings.difficulty:
            self._sampling = DifficultySampling(len(data), settings, self.folder / "difficulty")
            self._difficulty_subnet = _difficulty_subnet(model, settings)
        model.to(self.device).train()
        model.tokens.requires_grad_(settings.tune_tokens)
        if model.shape.level0:
            model.table.requires_grad_(False)  # trained by `TableTuning`
        self._optimiser = torch.optim.AdamW(_parameter_groups(model, settings), betas=_BETAS, fused=True)
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
        learning_rate_share = self.settings.learning_rate_share(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * learning_rate_share
        subnet_weights = self._subnet_weights()
        loss_of = DistillationLoss(batch, self.settings)
        loss_and_cosine: dict[str, Tensor] = {}
        for width, depths in self._depths_by_width().items():
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
        self._update_weights()
        means = torch.stack(list(loss_and_cosine.values()))
        parallel.average([means])
        for name, (loss_value, cosine_value) in zip(loss_and_cosine, means.tolist(), strict=True):
            self._losses.add(name, loss_value)
            self._cosines.add(name, cosine_value)

    def _update_weights(self) -> None:
        """Take one optimiser step with the gradients that have added up in all processes."""
        parallel.average([parameter.grad for parameter in self.model.parameters() if parameter.grad is not None])
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()

    def _depths_by_width(self) -> dict[float, list[int]]:
        """Return the subnets to train at the current step as depths by width."""
        subnets = self._subnets
        if 0 < self.settings.n_sampled_subnets < len(subnets):
            subnets = Random(f"{self.settings.seed}/{self.step}").sample(subnets, self.settings.n_sampled_subnets)
        depths: dict[float, list[int]] = {}
        for subnet in sorted(subnets, reverse=True):
            depths.setdefault(subnet.width, []).append(subnet.depth)
        return depths

    def _subnet_weights(self) -> dict[str, float]:
        """Return the weights of the subnets' losses: 1 on average."""
        weights = {
            name: max(loss, _MIN_LOSS) ** -self.settings.equilibrium for name, loss in self._losses.values.items()
        }
        mean = sum(weights.values()) / max(1, len(weights))
        return {name: weight / mean for name, weight in weights.items()}

    def state(self) -> dict[str, Any]:
        """Return weights, optimiser and running losses."""
        return {
            "losses": self._losses.values,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._losses = RunningMeans(state["losses"])

    def running_losses(self) -> dict[str, Any]:
        """Return losses and cosines by subnet."""
        return {"loss": self._losses.values, "cosine": self._cosines.values}


def supports_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes matrix products in bfloat16 itself, so that it is worth using."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return resolve_dtype("auto", device) == torch.bfloat16


def trained_subnets(model: ElasticBert, settings: DistilSettings) -> list[Subnet]:
    """Return the subnets that the settings name, or all of the model.

    Raises:
        QueryError: The model does not have one of them.
    """
    subnets = [Subnet.parse(name) for name in settings.subnets] or model.shape.grid
    for subnet in subnets:
        model.shape.check(subnet)
    return subnets


def _difficulty_subnet(model: ElasticBert, settings: DistilSettings) -> Subnet:
    if not settings.difficulty_subnet:
        subnets = sorted(trained_subnets(model, settings))
        return subnets[len(subnets) // 2]
    subnet = Subnet.parse(settings.difficulty_subnet)
    model.shape.check(subnet)
    return subnet


def _parameter_groups(model: ElasticBert, settings: DistilSettings) -> list[dict[str, Any]]:
    """Group the weights by learning rate and decay; `highest` is the rate that the schedule scales."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        serves_few_subnets = name.startswith(("exit", "shortcuts")) or "norm" in name
        is_matrix = "bias" not in name and "norm" not in name
        rate = settings.exit_learning_rate if serves_few_subnets else settings.learning_rate
        groups.setdefault((rate, settings.weight_decay if is_matrix else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "highest": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
