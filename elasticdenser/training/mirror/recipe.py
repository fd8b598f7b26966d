"""Recipes of mirror trainings: all that determines a sentence encoder made of a plain transformer, in one TOML file.

trains = "mirror"   title = "..."   seed = 1        encoder = "ID or folder"
pooling = "mean"    max_length = 50
[[texts]]           path, kind, limit: see `TextSource`
[train]             see `MirrorSettings`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError
from elasticdenser.models.model_files import MIN_LENGTH
from elasticdenser.models.poolings import POOLINGS
from elasticdenser.training.settings import (
    LoopSettings,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
)
from elasticdenser.training.texts import TextSource

DEFAULT_TEXTS = 10_000
"""Texts that are drawn from each source without a recipe, as many as in the paper."""


@dataclass(frozen=True, kw_only=True)
class MirrorSettings(LoopSettings):
    """Settings of the steps; see `LoopSettings` for those that are not listed here. Defaults are those of the paper.

    Args:
        steps: Number of optimiser steps; 100 of 200 texts read 10,000 texts twice.
        batch: Texts of a step; every other text of the step is a negative.
        typo_share: Share of the second readings that get typing errors before a span is masked.
        variant_share: Share of the second readings that are given as keywords, in lower case or without one word.
        span: Characters in sequence that a mask token replaces in every second reading; 0 masks nothing.
        dropout: Probability of dropout, in the layers and in the attention.
        temperature: Temperature of the similarities.
        weight_decay: Weight decay of all weights.
        clip: Greatest norm of the gradient.
        bfloat16: Whether matrix products run in bfloat16, where the device computes it.

    Raises:
        BadInputError: Nothing makes the second reading differ from the first.
    """

    steps: PositiveInt = 100
    batch: Annotated[int, Meta(ge=2)] = 200
    learning_rate: PositiveFloat = 2e-5
    final_share: Share = 0.1
    warm_up: NonNegativeInt = 5
    typo_share: Share = 0.0
    variant_share: Share = 0.0
    span: NonNegativeInt = 5
    dropout: Share = 0.1
    temperature: PositiveFloat = 0.04
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    bfloat16: bool = True

    def __post_init__(self) -> None:
        if not (self.span or self.dropout or self.typo_share or self.variant_share):
            raise BadInputError("got span = 0 and dropout = 0, expected one above 0: both readings would be the same")
        if self.dropout == 1:
            raise BadInputError("got dropout = 1, expected less: nothing would be left of a text")


@dataclass(frozen=True, kw_only=True)
class MirrorRecipe:
    """All that determines a mirror training.

    Args:
        texts: Raw texts.
        title: Title of the model.
        seed: Seed of the texts that are drawn, and of `train` where it has none of its own.
        encoder: Transformer to start from; of a sentence encoder, what follows its layers is left out.
        pooling: How the vectors of the tokens become one, in training and in the encoder that is made.
        max_length: Maximum number of tokens of a text in training; the encoder that is made reads longer texts.
        train: Settings of the steps.

    Raises:
        BadInputError: There is no such pooling.
    """

    texts: tuple[TextSource, ...]
    title: str = ""
    seed: NonNegativeInt = 0
    encoder: str = ""
    pooling: str = "mean"
    max_length: Annotated[int, Meta(ge=MIN_LENGTH)] = 50
    train: MirrorSettings = field(default_factory=MirrorSettings)

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise BadInputError(f"got pooling = {self.pooling!r}, expected one of {', '.join(POOLINGS)}")

    def changed(
        self,
        *,
        encoder: str = "",
        index: str = "",
        steps: int | None = None,
        teacher: str = "",
        space: str = "",
        seed: int | None = None,
    ) -> MirrorRecipe:
        """Return a copy of the recipe with some settings replaced; what is empty or None stays.

        Args:
            encoder: Transformer to start from.
            index: An index, which a mirror training does not have.
            steps: Number of steps; a warm-up of more than a tenth of them is cut.
            teacher: A teacher, likewise.
            space: Name of a teacher's vector space, likewise.
            seed: Seed of the recipe and of its steps.

        Raises:
            BadInputError: `steps` is below 1, or an index, a teacher or a vector space is given.
        """
        if index or teacher or space:
            raise BadInputError(
                "got --index, --teacher or --space for a mirror training, which learns from raw text: leave them out"
            )
        if steps is not None and steps < 1:
            raise BadInputError(f"got {steps} steps, expected at least 1")
        recipe, train = replace(self, encoder=encoder or self.encoder), self.train
        if steps:
            train = train.with_steps(steps)
        if seed is not None:
            recipe, train = replace(recipe, seed=seed), replace(train, seed=seed)
        return replace(recipe, train=train)


def default_mirror_recipe(model: str, queries: Sequence[str], passages: Sequence[str]) -> MirrorRecipe:
    """Return a recipe for a user's own texts.

    Args:
        model: Transformer to start from.
        queries: Files and folders of queries, one text each.
        passages: Corpora, whose sentences become texts.

    Raises:
        BadInputError: There is neither.
    """
    if not (queries or passages):
        raise BadInputError("got no texts to learn from: give --queries FILE or --passages CORPUS")
    sources = [(path, "queries") for path in queries] + [(path, "sentences") for path in passages]
    texts = tuple(TextSource(path=path, kind=kind, limit=DEFAULT_TEXTS) for path, kind in sources)
    return MirrorRecipe(texts=texts, encoder=model)


def mirror_recipe(value: dict[str, Any]) -> MirrorRecipe:
    """Return the recipe of a TOML file's content, without `trains`.

    Raises:
        BadInputError: Settings are unknown, out of range, or contradict each other.
    """
    if "seed" in value and isinstance(value.get("train", {}), dict):
        value = {**value, "train": {"seed": value["seed"], **value.get("train", {})}}
    return from_value(MirrorRecipe, value, "recipe")
