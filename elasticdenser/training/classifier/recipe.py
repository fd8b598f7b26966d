"""Recipes of classifiers: all that determines an elastic classifier, in one TOML file.

trains = "classifier"   title = "..."   seed = 1        task = "RTE"        path = "glue"
encoder = "ID or folder"                widths = [...]  depths = [...]      layers = "first-and-last"
pooling = "mean"        max_length = 128
[init]                  see `ClassifierInitSettings`
[teacher]               see `ClassifierStepSettings`; without it there is no teacher
[augmentation]          see `AugmentationSettings`; without it there are no copies of the examples
[train]                 see `ClassifierSettings`
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from elasticdenser.dataclass_io import from_value
from elasticdenser.datasets.glue import GlueTask, glue_task
from elasticdenser.errors import BadInputError
from elasticdenser.models.logits import LAYER_CHOICES
from elasticdenser.models.poolings import OWN_POOLINGS
from elasticdenser.training.classifier.settings import (
    AugmentationSettings,
    ClassifierInitSettings,
    ClassifierSettings,
    ClassifierStepSettings,
)
from elasticdenser.training.settings import NonNegativeInt, PositiveInt


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """All that determines an elastic classifier.

    Args:
        task: Task of GLUE.
        path: Folder of GLUE, as `load_glue` takes it, relative to the data folder.
        title: Title of the model.
        seed: Seed of what is drawn before the training, and of `teacher` and `train` where these do not have their own.
        encoder: Sentence encoder that the classifier is made of.
        widths: Widths of the subnets; by default those of 1, 1/2 and 1/4 that leave whole heads.
        depths: Depths of the subnets; by default those of 1, 2, 3, 4 and 6 that the encoder has, and all its layers.
        layers: Layers of a depth: `first-and-last`, or `first`, for early exits; see `ElasticLogits`.
        pooling: What the exits take: `cls` or `mean`.
        max_length: Maximum number of tokens of a text or pair.
        limit: Number of training examples, the first ones; 0 is all of them.
        init: Settings of the initialisation.
        teacher: Steps of the fine-tuning of the full encoder; None has no teacher.
        augmentation: Settings of the augmentation of the examples that the subnets are trained on; None has none.
        train: Settings of the training of the subnets.

    Raises:
        BadInputError: Settings contradict each other, or there is no such task.
    """

    task: str
    path: str = "glue"
    title: str = ""
    seed: NonNegativeInt = 0
    encoder: str = ""
    widths: tuple[float, ...] = ()
    depths: tuple[int, ...] = ()
    layers: str = LAYER_CHOICES[0]
    pooling: str = "mean"
    max_length: PositiveInt = 128
    limit: NonNegativeInt = 0
    init: ClassifierInitSettings = field(default_factory=ClassifierInitSettings)
    teacher: ClassifierStepSettings | None = None
    augmentation: AugmentationSettings | None = None
    train: ClassifierSettings

    def __post_init__(self) -> None:
        glue_task(self.task)
        for name, known in (("layers", LAYER_CHOICES), ("pooling", OWN_POOLINGS)):
            if getattr(self, name) not in known:
                raise BadInputError(f"got {name} = {getattr(self, name)!r}, expected one of {', '.join(known)}")
        if self.teacher is None and (self.train.state_steps or not self.train.label_weight):
            raise BadInputError("the recipe learns from a teacher, but there is none: add a table [teacher]")
        if self.augmentation is not None and (self.teacher is None or not self.train.teacher_weight):
            raise BadInputError(
                "got a table [augmentation], but its copies have nothing to learn from: add a table [teacher], and a "
                "teacher_weight above 0"
            )
        if self.teacher is not None and self.teacher.subnets:
            raise BadInputError("got teacher.subnets, expected none: the teacher is the full encoder")

    @property
    def glue_task(self) -> GlueTask:
        """The task."""
        return glue_task(self.task)

    def changed(
        self,
        *,
        encoder: str = "",
        index: str = "",
        steps: int | None = None,
        teacher: str = "",
        space: str = "",
        seed: int | None = None,
        subnets: tuple[str, ...] = (),
    ) -> ClassifierRecipe:
        """Return a copy of the recipe with some settings replaced; what is empty or None stays.

        Args:
            encoder: Sentence encoder.
            index: An index, which classifiers do not have.
            steps: Steps of the training of the subnets; a warm-up of more than a tenth of them is cut,
                and so is the part that matches hidden states.
            teacher: A teacher's vector space, which classifiers do not have.
            space: Name of such a space, likewise.
            seed: Seed of the recipe, of the teacher and of the training.
            subnets: The subnets to train.

        Raises:
            BadInputError: `steps` is below 1, or an index or a vector space is given.
        """
        if index:
            raise BadInputError(f"got the index {index}, expected none: a classifier searches no passages")
        if teacher or space:
            raise BadInputError("got --teacher or --space, which classifiers do not have: leave them out")
        if steps is not None and steps < 1:
            raise BadInputError(f"got {steps} steps, expected at least 1")
        recipe, train, own_teacher = replace(self, encoder=encoder or self.encoder), self.train, self.teacher
        if steps:
            state_steps = train.state_steps * min(steps, train.steps) // train.steps
            train = replace(train, state_steps=state_steps).with_steps(steps)
        if subnets:
            train = replace(train, subnets=subnets)
        if seed is not None:
            recipe, train = replace(recipe, seed=seed), replace(train, seed=seed)
            own_teacher = None if own_teacher is None else replace(own_teacher, seed=seed)
        return replace(recipe, train=train, teacher=own_teacher)


def classifier_recipe(value: dict[str, Any]) -> ClassifierRecipe:
    """Return the recipe of a TOML file's content, without `trains`.

    Raises:
        BadInputError: Settings are unknown, out of range, or contradict each other.
    """
    for name in ("teacher", "train"):
        if "seed" in value and isinstance(value.get(name), dict):
            value = {**value, name: {"seed": value["seed"], **value[name]}}
    return from_value(ClassifierRecipe, value, "recipe")
