"""Settings of the steps of a training of intents and slots. Ranges are checked where a recipe is read."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdenser.errors import BadInputError
from elasticdenser.training.settings import LoopSettings, NonNegativeFloat, NonNegativeInt, PositiveFloat, Share


@dataclass(frozen=True, kw_only=True)
class IntentStepSettings(LoopSettings):
    """Settings of the steps; see `LoopSettings` for those that are not listed here.

    Args:
        head_learning_rate: Highest learning rate of the heads; 0 is that of the body.
        weight_decay: Weight decay of matrices.
        clip: Greatest norm of the gradient.
        dropout: Probability with which a number that a head takes is dropped.
        typo_share: Share of the words that get a typing error; there is no `variant_share`.
        label_weight: Weight of the loss from the labels.
        teacher_weight: Weight of the loss from the teacher's outputs; of no effect without a teacher.
        temperature: Temperature of the probabilities in that loss.

    Raises:
        BadInputError: There is a `variant_share`, or nothing to learn from.
    """

    learning_rate: PositiveFloat = 1e-3
    head_learning_rate: NonNegativeFloat = 0.0
    final_share: Share = 0.02
    warm_up: NonNegativeInt = 50
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    dropout: Share = 0.1
    typo_share: Share = 0.0
    label_weight: NonNegativeFloat = 1.0
    teacher_weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        if self.variant_share:
            raise BadInputError("got a variant_share, which models of intents do not have: leave it out")
        if not (self.label_weight or self.teacher_weight):
            raise BadInputError("got label_weight = 0 and teacher_weight = 0, expected one above 0")
