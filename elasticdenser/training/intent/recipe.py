"""Recipes of models of intents and slots, in one TOML file.

trains = "intent"       title = "..."   seed = 1        task = "mtop"   path = "intent"     limit = 0
encoder = "ID or folder"                max_length = 64
teacher = "FOLDER"      a model of the same task, whose outputs are learnt; without it, labels alone
init = "FOLDER"         a trained model of the same task and body to start from
[pqrnn.model]           see `PQRNNSettings`
[pqrnn.projection]      see `ProjectionSettings`
[lstm]                  see `LSTMSettings`
[train]                 see `IntentStepSettings`

With a table `pqrnn` or `lstm` that body is trained, without them the full encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from elasticdenser.dataclass_io import from_value
from elasticdenser.datasets.intents import IntentTask, intent_task
from elasticdenser.errors import BadInputError
from elasticdenser.models.intent_bodies import LSTMSettings
from elasticdenser.models.intent_model import PQRNNBody
from elasticdenser.models.model_files import MIN_LENGTH
from elasticdenser.training.intent.settings import IntentStepSettings
from elasticdenser.training.settings import NonNegativeInt, PositiveInt


@dataclass(frozen=True, kw_only=True)
class IntentRecipe:
    """All that determines a model.

    Args:
        task: Task, a name in `datasets.intents.TASKS` with training data.
        path: Folder of the data sets, relative to the data folder.
        title: Title of the model.
        seed: Seed of the first weights, and of `train` where it does not have its own.
        limit: Number of training utterances, drawn at random; 0 is all of them.
        encoder: Sentence encoder that is fine-tuned, or whose token vectors the LSTM reads; empty is all-MiniLM-L6-v2.
        max_length: Maximum number of tokens of a text, special tokens included; for pQRNN, of words.
        teacher: Folder of the teacher, relative to the current folder; empty has none.
        init: Folder of a trained model of the same task and body, whose weights training starts from, likewise; empty
            starts from the encoder, or from random weights.
        pqrnn: Shape of a pQRNN.
        lstm: Shape of an LSTM.
        train: Settings of the training.

    Raises:
        BadInputError: There is no such task, it has no training data, or settings contradict each other.
    """

    task: str
    path: str = "intent"
    title: str = ""
    seed: NonNegativeInt = 0
    limit: NonNegativeInt = 0
    encoder: str = ""
    max_length: PositiveInt = 64
    teacher: str = ""
    init: str = ""
    pqrnn: PQRNNBody | None = None
    lstm: LSTMSettings | None = None
    train: IntentStepSettings

    def __post_init__(self) -> None:
        if "train" not in self.intent_task.splits:
            raise BadInputError(f"got the task {self.task!r}, which has no training data: choose another one")
        if self.pqrnn is not None and self.lstm is not None:
            raise BadInputError("got tables pqrnn and lstm, expected at most one of them")
        if self.lstm is not None and (self.lstm.vocabulary or self.lstm.token_dim):
            raise BadInputError("got lstm.vocabulary or lstm.token_dim, which are those of the encoder: leave them out")
        if self.pqrnn is None and self.max_length < MIN_LENGTH:
            raise BadInputError(
                f"got max_length = {self.max_length}, expected at least {MIN_LENGTH} tokens, of which two are special"
            )
        if not self.teacher and not self.train.label_weight:
            raise BadInputError("the recipe learns from a teacher, but there is none: give it a 'teacher'")

    @property
    def intent_task(self) -> IntentTask:
        """The task."""
        return intent_task(self.task)

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
    ) -> IntentRecipe:
        """Return a copy of the recipe with some settings replaced; what is empty or None stays.

        Args:
            encoder: Sentence encoder.
            index: An index, which these models do not have.
            steps: Steps of the training; a warm-up of more than a tenth of them is cut.
            teacher: Folder of the teacher.
            space: Name of a vector space, which these models do not have.
            seed: Seed of the recipe and of the training.
            subnets: Subnets, which these models do not have.

        Raises:
            BadInputError: `steps` is below 1, or something is given that these models do not have.
        """
        if index or space or subnets:
            raise BadInputError("got --index, --space or --subnet, which models of intents do not have: leave them out")
        if steps is not None and steps < 1:
            raise BadInputError(f"got {steps} steps, expected at least 1")
        train = self.train
        if steps:
            train = train.with_steps(steps)
        recipe = self
        if seed is not None:
            recipe, train = replace(recipe, seed=seed), replace(train, seed=seed)
        return replace(recipe, encoder=encoder or self.encoder, teacher=teacher or self.teacher, train=train)


def intent_recipe(value: dict[str, Any]) -> IntentRecipe:
    """Return the recipe of a TOML file's content, without `trains`.

    Raises:
        BadInputError: Settings are unknown, out of range, or contradict each other.
    """
    if "seed" in value and isinstance(value.get("train"), dict):
        value = {**value, "train": {"seed": value["seed"], **value["train"]}}
    return from_value(IntentRecipe, value, "recipe")
