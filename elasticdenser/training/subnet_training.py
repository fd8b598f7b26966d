"""Parts shared by all trainings of subnets: the optimiser, the weights of the losses, and the state to resume from.

The losses of small subnets stay large, and would outweigh the small losses of the large subnets, with which they share
layers. So the loss of a subnet has the weight running_loss ** -`equilibrium`: 0 weights all alike, 1 gives
the same *relative* gain of every subnet the same weight (after the gradient equilibrium of COST-EFF, Shen et al. 2022,
whose factors by depth would do nothing here, since AdamW divides the gradient of every weight by its own magnitude).
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from elasticdenser.encoders import resolve_dtype
from elasticdenser.models.heads import ElasticHead
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.loop import RunningMeans
from elasticdenser.training.settings import SubnetSettings

_BETAS = 0.9, 0.98
"""Decay rates of AdamW; the second, from Vaswani et al. (2017), forgets old gradients sooner than the usual 0.999."""

_MIN_LOSS = 1e-6
"""Lower bound of a loss in the weights: the loss of an untrained full subnet is 0, as it gives exactly the targets."""


class SubnetOptimiser:
    """Optimiser of the weights that the subnets of a model share.

    Args:
        model: The model; its parameters that require gradients are trained.
        settings: Settings of the training.

    Raises:
        QueryError: The model does not have one of the subnets in the settings.
    """

    def __init__(self, model: ElasticHead, settings: SubnetSettings) -> None:
        self.model, self.settings = model, settings
        self.subnets = trained_subnets(model, settings)
        self.losses = RunningMeans()
        self._optimiser = torch.optim.AdamW(_parameter_groups(model, settings), betas=_BETAS, fused=True)

    def set_learning_rates(self, step: int) -> None:
        """Set the learning rates of a step."""
        share = self.settings.learning_rate_share(step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["highest"] * share

    def update(self) -> None:
        """Take one optimiser step with the gradients that have added up in all processes."""
        parallel.average([parameter.grad for parameter in self.model.parameters() if parameter.grad is not None])
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self._optimiser.step()
        self._optimiser.zero_grad()

    def depths_by_width(self, step: int, *, always: Subnet | None = None) -> dict[float, list[int]]:
        """Return the subnets to train at a step as depths by width.

        Args:
            step: Number of the step.
            always: Subnet that is trained at every step, in addition to those that are drawn.
        """
        subnets = self.subnets
        if 0 < self.settings.n_sampled_subnets < len(subnets):
            subnets = Random(f"{self.settings.seed}/{step}").sample(subnets, self.settings.n_sampled_subnets)
        if always is not None and always not in subnets:
            subnets = [*subnets, always]
        depths: dict[float, list[int]] = {}
        for subnet in sorted(subnets, reverse=True):
            depths.setdefault(subnet.width, []).append(subnet.depth)
        return depths

    def loss_weights(self) -> dict[str, float]:
        """Return the weights of the subnets' losses: 1 on average."""
        weights = {
            name: max(loss, _MIN_LOSS) ** -self.settings.equilibrium for name, loss in self.losses.values.items()
        }
        mean = sum(weights.values()) / max(1, len(weights))
        return {name: weight / mean for name, weight in weights.items()}

    def state(self) -> dict[str, Any]:
        """Return weights, optimiser and running losses."""
        return {
            "losses": self.losses.values,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.losses = RunningMeans(state["losses"])


class SubnetLoop:
    """Part of the loop of a training of subnets that its optimiser does; a base beside `StepLoop`, and before it.

    Attributes:
        optimiser: The optimiser, which a subclass makes.
    """

    optimiser: SubnetOptimiser

    def take_step(self, losses: Mapping[str, Tensor]) -> None:
        """Take one optimiser step, and record the losses.

        Args:
            losses: By subnet, the part of this process in the mean of all.
        """
        self.optimiser.update()
        means = torch.stack(list(losses.values()))
        parallel.average([means])
        for name, value in zip(losses, means.tolist(), strict=True):
            self.optimiser.losses.add(name, value)

    def state(self) -> dict[str, Any]:
        """Return weights, optimiser and running losses."""
        return self.optimiser.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.optimiser.load_state(state)

    def running_losses(self) -> dict[str, Any]:
        """Return the losses by subnet."""
        return {"loss": self.optimiser.losses.values}


def supports_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes matrix products in bfloat16 itself, so that it is worth using."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return resolve_dtype("auto", device) == torch.bfloat16


def trained_subnets(model: ElasticHead, settings: SubnetSettings) -> list[Subnet]:
    """Return the subnets that the settings name, or all of the model.

    Raises:
        QueryError: The model does not have one of them.
    """
    subnets = [Subnet.parse(name) for name in settings.subnets] or model.shape.grid
    for subnet in subnets:
        model.shape.check(subnet)
    return subnets


def _parameter_groups(model: ElasticHead, settings: SubnetSettings) -> list[dict[str, Any]]:
    """Group the weights by learning rate and decay; `highest` is the rate that the schedule scales."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        serves_few_subnets = name.startswith(("exit", "shortcuts")) or "norm" in name
        is_matrix = "bias" not in name and "norm" not in name and name != "segment"
        rate = settings.exit_learning_rate if serves_few_subnets else settings.learning_rate
        groups.setdefault((rate, settings.weight_decay if is_matrix else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "highest": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
