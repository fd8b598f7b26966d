"""Settings of the parts of a training: initialisation, distillation, level 0 and dev sets.

Ranges in the annotations are checked where a recipe is read.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from msgspec import Meta

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import parse_measures
from elasticdenser.subnet import Subnet

PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class InitSettings:
    """Settings of the initialisation of the subnets, before they are trained.

    Args:
        model: Trained elastic encoder whose subnets, and level 0 if it has one, training starts from; empty starts from
            the full encoder's weights. The other settings are then without effect.
        batch: Texts of a batch.
        exit_batches: Batches that the exits are fitted to; at most one epoch.
        reorder: Whether heads and neurons are sorted by importance.
        first_batches: Number of these batches that the exits are fitted to before importance is measured.
        importance_batches: Number of these batches that importance is measured on.
        ridge: Penalty on the change of the exits, as the number of texts that would weigh as much.
        seed: Seed of the batches.
    """

    model: str = ""
    batch: PositiveInt = 128
    exit_batches: PositiveInt = 160
    reorder: bool = True
    first_batches: PositiveInt = 64
    importance_batches: PositiveInt = 24
    ridge: PositiveFloat = 100.0
    seed: NonNegativeInt = 12345


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Settings that all trainings by gradients share.

    Args:
        steps: Number of optimiser steps.
        batch: Queries of a step.
        learning_rate: Highest learning rate.
        final_share: Share of the highest learning rate that is left at the end.
        warm_up: Steps until the highest learning rate.
        score_weight: Weight of the loss over score distributions, relative to the alignment loss.
        temperature: Temperature of the score distributions.
        typo_share: Share of the queries that get typing errors; their targets are those of the clean text.
        n_random: Number of random passages in the bank of a batch, in addition to the nearest ones.
        seed: Seed of everything that is drawn at random.
    """

    steps: PositiveInt
    batch: PositiveInt = 128
    learning_rate: PositiveFloat
    final_share: Share
    warm_up: NonNegativeInt
    score_weight: NonNegativeFloat = 0.3
    temperature: PositiveFloat = 0.03
    typo_share: Share = 0.15
    n_random: NonNegativeInt
    seed: NonNegativeInt = 0

    def learning_rate_share(self, step: int) -> float:
        """Return the share of the highest learning rate at a step.

        A linear warm-up, then a cosine (Loshchilov and Hutter 2017).
        """
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


@dataclass(frozen=True, kw_only=True)
class DistilSettings(StepSettings):
    """Settings of the distillation into the subnets; see `StepSettings` for those that are not listed here.

    Args:
        learning_rate: Highest learning rate of the shared weights.
        exit_learning_rate: Highest learning rate of exits and layer norms, each of which serves few subnets.
        weight_decay: Weight decay of matrices; norms and biases have none.
        clip: Greatest norm of the gradient.
        equilibrium: Exponent of the weights of the subnets' losses, from 0 (all alike) to 1; see `distil`.
        tune_tokens: Whether token vectors are trained too.
        bfloat16: Whether matrix products run in bfloat16.
        subnets: The subnets to train, such as ("w0.5-d3",); empty trains all of the grid.
        n_sampled_subnets: Subnets that are drawn at random for each step; 0 trains all of them at each step.

    Raises:
        QueryError: A name in `subnets` is not that of a subnet.
    """

    learning_rate: PositiveFloat = 2e-4
    exit_learning_rate: PositiveFloat = 5e-4
    final_share: Share = 0.02
    warm_up: NonNegativeInt = 200
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat = 1.0
    equilibrium: Share = 0.5
    n_random: NonNegativeInt = 512
    tune_tokens: bool = False
    bfloat16: bool = True
    subnets: tuple[str, ...] = ()
    n_sampled_subnets: NonNegativeInt = 0

    def __post_init__(self) -> None:
        for name in self.subnets:
            Subnet.parse(name)


@dataclass(frozen=True, kw_only=True)
class TableSettings(StepSettings):
    """Settings of level 0, the token table that all subnets build upon: of its fit and of its tuning.

    See `StepSettings` for the settings of the tuning.

    Args:
        ridge_map: Penalty on the map of word embeddings; see `fit_table`.
        ridge: Penalty on the change of each vector; see `fit_table`.
        iterations: Maximum number of iterations of the fit; see `fit_table`.
        fit_batch: Texts of a batch of the fit, which reads every text once.
    """

    steps: PositiveInt = 1500
    learning_rate: PositiveFloat = 3e-3  # more than layers need, as token vectors have lengths of about 1
    final_share: Share = 0.05
    warm_up: NonNegativeInt = 20
    n_random: NonNegativeInt = 256
    ridge_map: PositiveFloat = 10.0
    ridge: PositiveFloat = 0.01
    iterations: NonNegativeInt = 15
    fit_batch: PositiveInt = 128


@dataclass(frozen=True, kw_only=True)
class DevSetSettings:
    """Queries with judgements or answers on which snapshots are compared; nothing is trained on them.

    Args:
        path: Queries, as `load_queries` takes them, relative to the data folder.
        measure: Measure to compare by, such as `nDCG@10` or `AnswerMatch@20`.
        split: Split of a BEIR folder; required there, so that test queries are not used by accident.
        index: Passages to search, as an index of the same encoder; without it and `passages` the recipe's own.
        passages: Passages to search, as a corpus.
        limit: Maximum number of queries, drawn at random; 0 is all of them.
        exact: Whether all vectors are scanned, instead of using the index's structure.
        regex: Whether answers are regular expressions.

    Raises:
        BadInputError: Both `index` and `passages` are given, or the measure is unknown.
    """

    path: str
    measure: str
    split: str = ""
    index: str = ""
    passages: tuple[str, ...] = ()
    limit: NonNegativeInt = 1000
    exact: bool = False
    regex: bool = False

    def __post_init__(self) -> None:
        if self.index and self.passages:
            raise BadInputError(
                "got both 'index' and 'passages' of a dev set, expected one of them: remove the other", self.path
            )
        parse_measures([self.measure])


_FILE_KEYS = {"subnets": "sizes", "n_sampled_subnets": "n_sampled"}
"""Field -> key in files whose format keeps an earlier name."""


def settings_to_json(settings: InitSettings | StepSettings) -> dict[str, Any]:
    """Return settings as checkpoints and the elastic.json of a model hold them: with the keys of that format.

    No model to start from is left out, so that a training that began before there was this setting can be resumed.
    """
    values = {_FILE_KEYS.get(name, name): value for name, value in asdict(settings).items()}
    return {name: value for name, value in values.items() if (name, value) != ("model", "")}
