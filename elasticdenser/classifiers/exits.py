"""Early exits: an input leaves the layers at the first depth whose answer is certain enough.

Two rules. By entropy (BranchyNet, Teerapittayanon et al. 2016; DeeBERT, Xin et al. 2020; COST-EFF, Shen et al. 2022):
an exit answers where the entropy of its probabilities is low. By patience (PABEE, Zhou et al. 2020): an exit answers
where several exits in a row agree; of a regression, where they differ by little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.errors import QueryError
from elasticdenser.models.flops import exit_flops, layer_flops, layers_run
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.trunk import padding_bias_of, pooled
from elasticdenser.subnet import Subnet


@dataclass(frozen=True, kw_only=True)
class ExitRule:
    """Rule by which inputs leave the layers early; without any setting they never do.

    Args:
        entropy: Highest entropy of an exit's probabilities at which it answers, as a share of the highest possible one:
            0 never, 1 always.
        patience: Number of exits in a row that must agree with the one before; 0 is off.
        difference: Of a regression, difference up to which two exits agree, as a share of the highest number.

    Raises:
        QueryError: A setting is out of range, or both rules are set.
    """

    entropy: float | None = None
    patience: int = 0
    difference: float = 0.0

    def __post_init__(self) -> None:
        if self.entropy is not None and not 0 <= self.entropy <= 1:
            raise QueryError(f"got the exit threshold {self.entropy}, expected 0 (never) to 1 (always)")
        if self.patience < 0 or not 0 <= self.difference <= 1:
            raise QueryError(
                f"got patience {self.patience} and difference {self.difference}, expected 0 or more, and 0 to 1"
            )
        if self.patience and self.entropy is not None:
            raise QueryError("got both an entropy and a patience, expected one rule: leave one out")

    def check(self, n_outputs: int) -> None:
        """Check that the rule fits a model.

        Raises:
            QueryError: It is one of entropy, and the model gives numbers.
        """
        if n_outputs == 1 and self.entropy is not None:
            raise QueryError("got an entropy for a regression, expected patience: a number has no probabilities")

    def answers(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return which inputs leave at the last of the exits that they have passed, bool, (n,).

        Args:
            outputs: Outputs of these exits, first to last, (n, n_outputs) each.
        """
        last = outputs[-1]
        if self.entropy is not None:
            return (normalised_entropy(last) < self.entropy) | (self.entropy == 1)
        if not self.patience or len(outputs) <= self.patience:
            return torch.zeros(len(last), dtype=torch.bool, device=last.device)
        agrees = torch.ones(len(last), dtype=torch.bool, device=last.device)
        for earlier, later in zip(outputs[-1 - self.patience : -1], outputs[-self.patience :], strict=True):
            if last.shape[1] == 1:
                agrees &= (earlier - later).abs()[:, 0] <= self.difference
            else:
                agrees &= earlier.argmax(dim=1) == later.argmax(dim=1)
        return agrees


def normalised_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the probabilities of logits, (n, n_classes), as shares of the highest: (n,)."""
    log_probabilities = logits.log_softmax(dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1) / math.log(logits.shape[1])


def exit_steps(outputs: Sequence[Tensor], rule: ExitRule) -> Tensor:
    """Return the number of the exit at which each input leaves, int64, (n,), from the outputs of all exits.

    Args:
        outputs: Outputs of the exits, first to last, (n, n_outputs) each.
        rule: The rule.
    """
    left_at = torch.full((len(outputs[0]),), len(outputs) - 1)
    for step in reversed(range(len(outputs) - 1)):
        left_at[rule.answers(outputs[: step + 1]).cpu()] = step
    return left_at


@torch.inference_mode()
def run_until_exit(
    model: ElasticLogits, token_ids: Tensor, mask: Tensor, width: float, depths: Sequence[int], rule: ExitRule
) -> tuple[Tensor, Tensor]:
    """Run a batch through the depths of a width; inputs that leave are not computed further.

    Args:
        model: The model.
        token_ids: As `ElasticHead.forward` takes them.
        mask: As `ElasticHead.forward` takes it.
        width: The width.
        depths: Depths whose exits are asked, rising; the last one answers what is left.
        rule: The rule.

    Returns:
        The outputs, (n, n_outputs), and the number of the exit that gave each, int64, (n,).
    """
    outputs = torch.empty(len(token_ids), model.shape.dim, device=token_ids.device)
    left_at = torch.full((len(token_ids),), len(depths) - 1)
    for step, rows, found in _steps(model, token_ids, mask, width, depths, rule):
        outputs[rows] = found
        left_at[rows.cpu()] = step
    return outputs, left_at


def _steps(
    model: ElasticLogits, token_ids: Tensor, mask: Tensor, width: float, depths: Sequence[int], rule: ExitRule
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield for each exit its number, the rows that leave there, and their outputs."""
    rows = torch.arange(len(token_ids), device=token_ids.device)
    states, bias, n_done = model.embedded(token_ids, width), padding_bias_of(mask), 0
    passed: list[Tensor] = []
    for step, depth in enumerate(depths):
        first, others = model.layers_of(depth)
        states, n_done = model.run_layers(first[n_done:], states, bias, width), max(n_done, len(first))
        vectors = pooled(model.run_layers(others, states, bias, width), mask, model.shape.pooling)
        passed.append(F.linear(vectors, *model.exit_of(Subnet(width, depth))))
        leaves = rule.answers(passed).to(rows.device)
        if step == len(depths) - 1:
            leaves = torch.ones_like(leaves)
        yield step, rows[leaves], passed[-1][leaves]
        if leaves.all():
            return
        stays = ~leaves
        rows, states, bias, mask = rows[stays], states[stays], bias[stays], mask[stays]
        passed = [outputs[stays] for outputs in passed]


def flops_at_exits(model: ElasticLogits, width: float, depths: Sequence[int], length: int) -> list[int]:
    """Return the operations that a sequence has cost at each exit, those of the exits before included.

    Args:
        model: The model.
        width: The width.
        depths: Depths whose exits are asked, rising.
        length: Tokens of the sequence.
    """
    one_layer, one_exit = layer_flops(model.shape, width, length), exit_flops(model.shape)
    n_layers = layers_run(model.layers_of, depths)
    return [n * one_layer + number * one_exit for number, n in enumerate(n_layers, 1)]
