"""Recipes of pQRNNs for queries: all that determines one, in one TOML file.

trains = "pqrnn"    title = "..."   seed = 1            teacher = "ID or folder"    target_dtype = "auto"
index = "..." or passages = [...]   n_neighbours = 8    max_length = 512
[[texts]]           path, kind, limit: see `TextSource`
[projection]        see `ProjectionSettings`
[model]             see `PQRNNSettings`; n_features are those of the projection
[distil]            see `PQRNNSteps`
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError
from elasticdenser.models.model_files import MIN_LENGTH
from elasticdenser.models.pqrnn_manifest import PQRNNSettings
from elasticdenser.models.projection import ProjectionSettings
from elasticdenser.training.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    StepSettings,
)
from elasticdenser.training.texts import TextSource


@dataclass(frozen=True, kw_only=True)
class PQRNNSteps(StepSettings):
    """Settings of the distillation; see `StepSettings` for those that are not listed here.

    Args:
        learning_rate: Highest learning rate.
        weight_decay: Weight decay of matrices; biases have none.
        clip: Greatest norm of the gradient.
    """

    learning_rate: PositiveFloat = 2e-3
    final_share: Share = 0.02
    warm_up: NonNegativeInt = 100
    n_random: NonNegativeInt = 512
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0


@dataclass(frozen=True, kw_only=True)
class PQRNNRecipe:
    """All that determines a pQRNN for queries.

    Paths are absolute or relative to the data folder; that of the teacher is relative to the current folder.

    Args:
        title: Title of the model.
        seed: Seed of the texts that are drawn, of the first weights, and of `distil` where it does not have its own.
        teacher: Encoder whose query vectors are learned: folder or id; by default the one that made the index, else
            all-MiniLM-L6-v2.
        target_dtype: Arithmetic in which it computes them, as in a recipe of an encoder.
        index: Folder of an index of the teacher, whose passages vectors are compared with in training.
        passages: Corpus to build such an index of, where there is none; without either, vectors are compared with one
            another.
        n_neighbours: Nearest passages of each text that training looks at.
        max_length: Bytes of a query, in UTF-8, that are read.
        texts: Sources of the training texts.
        projection: Features of words.
        model: Shape of the model.
        distil: Settings of the distillation.

    Raises:
        BadInputError: Settings are missing or contradict each other.
    """

    title: str = ""
    seed: NonNegativeInt = 0
    teacher: str = ""
    target_dtype: str = "auto"
    index: str = ""
    passages: tuple[str, ...] = ()
    n_neighbours: PositiveInt = 8
    max_length: PositiveInt = 512
    texts: tuple[TextSource, ...]
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    model: PQRNNSettings = field(default_factory=PQRNNSettings)
    distil: PQRNNSteps

    def __post_init__(self) -> None:
        if self.index and self.passages:
            raise BadInputError("got both 'index' and 'passages', which an index would be built of: give one of them")
        if not self.texts:
            raise BadInputError("there are no texts to train on: add at least one table [[texts]]")
        if self.max_length < MIN_LENGTH:
            raise BadInputError(f"got max_length = {self.max_length}, expected at least {MIN_LENGTH} bytes")
        if self.model.n_features != self.projection.n_features:
            raise BadInputError(
                f"got model.n_features = {self.model.n_features} and projection.n_features = "
                f"{self.projection.n_features}, expected the same: leave out the first"
            )

    def changed(
        self, *, encoder: str = "", index: str = "", steps: int | None = None, teacher: str = "", space: str = ""
    ) -> PQRNNRecipe:
        """Return a copy of the recipe with some settings replaced; what is empty or None stays.

        Args:
            encoder: An encoder to start from, which a pQRNN does not have.
            index: An index of the teacher, in place of the recipe's passages.
            steps: Steps of the distillation; a warm-up of more than a tenth of them is cut.
            teacher: The teacher.
            space: Name of a space of given vectors, which these recipes do not have.

        Raises:
            BadInputError: `steps` is below 1, or an encoder or a space is given.
        """
        if encoder or space:
            raise BadInputError("got --encoder or --space, expected neither: a pQRNN starts from random weights")
        if steps is not None and steps < 1:
            raise BadInputError(f"got {steps} steps, expected at least 1: nothing of a pQRNN is fitted without steps")
        recipe = replace(self, teacher=teacher or self.teacher)
        if index:
            recipe = replace(recipe, index=index, passages=())
        if steps:
            recipe = replace(recipe, distil=self.distil.with_steps(steps))
        return recipe


def pqrnn_recipe(value: dict[str, Any]) -> PQRNNRecipe:
    """Return the recipe of a TOML file's content, without `trains`.

    Raises:
        BadInputError: Settings are unknown, out of range, or contradict each other.
    """
    if "seed" in value and isinstance(value.get("distil"), dict):
        value = {**value, "distil": {"seed": value["seed"], **value["distil"]}}
    projection, model = value.get("projection", {}), value.get("model", {})
    if isinstance(projection, dict) and isinstance(model, dict) and "n_features" in projection:
        value = {**value, "model": {"n_features": projection["n_features"], **model}}
    return from_value(PQRNNRecipe, value, "recipe")
