"""Kinds of models that a recipe can train, by the value of its `trains`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdenser.dataclass_io import read_toml
from elasticdenser.errors import BadInputError
from elasticdenser.progress import Progress, silent
from elasticdenser.training.classifier.recipe import ClassifierRecipe, classifier_recipe
from elasticdenser.training.classifier.train import ClassifierResult, train_classifier
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.intent.recipe import IntentRecipe, intent_recipe
from elasticdenser.training.intent.train import IntentResult, train_intent
from elasticdenser.training.late_interaction.fit import LateInteractionResult, fit_late_interaction
from elasticdenser.training.late_interaction.recipe import LateInteractionRecipe, late_interaction_recipe
from elasticdenser.training.mirror.recipe import MirrorRecipe, mirror_recipe
from elasticdenser.training.mirror.train import MirrorResult, train_mirror
from elasticdenser.training.pqrnn.recipe import PQRNNRecipe, pqrnn_recipe
from elasticdenser.training.pqrnn.train import PQRNNResult, train_pqrnn
from elasticdenser.training.ranker.recipe import RankerRecipe, ranker_recipe
from elasticdenser.training.ranker.train import RankerResult, train_ranker
from elasticdenser.training.recipe import Recipe, encoder_recipe
from elasticdenser.training.stages import Log
from elasticdenser.training.train import TrainingResult, train

AnyRecipe = Recipe | RankerRecipe | LateInteractionRecipe | ClassifierRecipe | IntentRecipe | MirrorRecipe | PQRNNRecipe
AnyResult = (
    TrainingResult | RankerResult | LateInteractionResult | ClassifierResult | IntentResult | MirrorResult | PQRNNResult
)


@dataclass(frozen=True)
class Kind:
    """Kind of model.

    Args:
        recipe: Type of its recipes.
        read: Makes a recipe of the content of a file, without `trains`.
        train: Trains a model by a recipe.
    """

    recipe: type[Any]
    read: Callable[[dict[str, Any]], Any]
    train: Callable[..., Any]


KINDS = {
    "encoder": Kind(Recipe, encoder_recipe, train),
    "ranker": Kind(RankerRecipe, ranker_recipe, train_ranker),
    "late-interaction": Kind(LateInteractionRecipe, late_interaction_recipe, fit_late_interaction),
    "classifier": Kind(ClassifierRecipe, classifier_recipe, train_classifier),
    "intent": Kind(IntentRecipe, intent_recipe, train_intent),
    "mirror": Kind(MirrorRecipe, mirror_recipe, train_mirror),
    "pqrnn": Kind(PQRNNRecipe, pqrnn_recipe, train_pqrnn),
}
"""Kinds of models; a recipe without `trains` trains an encoder."""


def read_any_recipe(path: str | Path) -> AnyRecipe:
    """Read a recipe file of any kind.

    Raises:
        BadInputError: The file is missing, not TOML, or holds settings that are unknown or out of range.
    """
    recipe: AnyRecipe = read_toml(path, "recipe", _from_toml)
    return recipe


def train_model(
    recipe: AnyRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> AnyResult | None:
    """Train the model of a recipe, or resume a training that was interrupted; see the `train` of its kind."""
    kind = next(kind for kind in KINDS.values() if isinstance(recipe, kind.recipe))
    result: AnyResult | None = kind.train(recipe, output, options, progress=progress, log=log)
    return result


def _from_toml(value: dict[str, Any]) -> AnyRecipe:
    name = value.get("trains", "encoder")
    if not isinstance(name, str) or name not in KINDS:
        raise BadInputError(f"got trains = {name!r}, expected one of {', '.join(KINDS)}")
    recipe: AnyRecipe = KINDS[name].read({key: item for key, item in value.items() if key != "trains"})
    return recipe
