"""Settings of the parts of a classifier's training.

Ranges in the annotations are checked where a recipe is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from elasticdenser.errors import BadInputError
from elasticdenser.models.activation_files import STATE_DTYPES
from elasticdenser.training.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    SubnetSettings,
)


@dataclass(frozen=True, kw_only=True)
class ClassifierStepSettings(SubnetSettings):
    """Settings of the steps that teacher and subnets share; see `SubnetSettings` for those that are not listed here.

    Args:
        batch: Examples of a step.
        typo_share: Share of the examples whose first text gets typing errors; there is no `variant_share`.
        recycled_layers: First layers that are not trained, nor the token vectors, and whose states are computed once
            and cached; 0 trains all layers. See `RecycledLayers`.
        recycled_dtype: How these states are stored: `float16`, `float32`, or `int8`.
        recycled_gb: Most gigabytes of them on disk; further ones are computed each time, with the same result.

    Raises:
        BadInputError: There is a `variant_share`, or recycled layers with what would change their states.
    """

    batch: PositiveInt = 32
    learning_rate: PositiveFloat = 5e-5
    exit_learning_rate: PositiveFloat = 5e-4
    warm_up: NonNegativeInt = 30
    typo_share: Share = 0.0
    recycled_layers: NonNegativeInt = 0
    recycled_dtype: str = STATE_DTYPES[0]
    recycled_gb: NonNegativeFloat = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant_share:
            raise BadInputError("got a variant_share, which classifiers do not have: leave it out")
        if self.recycled_dtype not in STATE_DTYPES:
            raise BadInputError(
                f"got recycled_dtype = {self.recycled_dtype!r}, expected one of {', '.join(STATE_DTYPES)}"
            )
        if self.recycled_layers and (self.typo_share or self.tune_tokens):
            raise BadInputError(
                f"got recycled_layers = {self.recycled_layers} with typo_share or tune_tokens, which give a text other "
                "states in each epoch: leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(ClassifierStepSettings):
    """Settings of the training of the subnets; see `ClassifierStepSettings` for those that are not listed here.

    Args:
        label_weight: Weight of the loss from the labels.
        teacher_weight: Weight of the loss from the teacher's outputs; of no effect without a teacher.
        temperature: Temperature of the probabilities of teacher and subnets in that loss.
        inplace_share: Share of the distillation from the largest trained subnet in the loss of the others.
        state_steps: Steps at the beginning that match the teacher's hidden states alone, those of each depth with the
            teacher's after the same layer: the first of the two stages of TinyBERT (Jiao et al. 2020).

    Raises:
        BadInputError: There is nothing to learn from.
    """

    label_weight: NonNegativeFloat = 1.0
    teacher_weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 1.0
    inplace_share: Share = 0.0
    state_steps: NonNegativeInt = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.label_weight or self.teacher_weight):
            raise BadInputError("got label_weight = 0 and teacher_weight = 0, expected one above 0")
        if self.state_steps >= self.steps:
            raise BadInputError(f"got state_steps = {self.state_steps}, expected fewer than steps = {self.steps}")


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """Settings of the augmentation of the training examples; the defaults are those of TinyBERT.

    Args:
        copies: Copies of each example, from which only the teacher's outputs are learnt, no labels.
        share: Probability with which a word of a copy is replaced.
        candidates: Number of the most similar words, of which one is drawn.
    """

    copies: PositiveInt = 20
    share: Annotated[float, Meta(gt=0, le=1)] = 0.4
    candidates: PositiveInt = 15


@dataclass(frozen=True, kw_only=True)
class ClassifierInitSettings:
    """Settings of the initialisation of a classifier.

    Args:
        model: Trained elastic encoder whose trunk training starts from; empty starts from the full encoder's weights.
        reorder: Whether heads and neurons of the full encoder are sorted by importance; a trained
            encoder's are already.
        importance_batches: Batches of 16 examples that importance is measured on.
    """

    model: str = ""
    reorder: bool = True
    importance_batches: NonNegativeInt = 8
