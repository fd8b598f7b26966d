"""Settings of the parts of a training: initialisation, distillation, level 0 and dev sets.

Ranges in the annotations are checked where a recipe is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Self

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
        map_ridge: Penalty on the exits with which a student of trained subnets starts, likewise.
        seed: Seed of the batches.
    """

    model: str = ""
    batch: PositiveInt = 128
    exit_batches: PositiveInt = 160
    reorder: bool = True
    first_batches: PositiveInt = 64
    importance_batches: PositiveInt = 24
    ridge: PositiveFloat = 100.0
    map_ridge: PositiveFloat = 1000.0  # much, as the table has read the same texts
    seed: NonNegativeInt = 12345


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings that all trainings by gradients share.

    Args:
        steps: Number of optimiser steps.
        batch: Queries of a step.
        learning_rate: Highest learning rate.
        final_share: Share of the highest learning rate that is left at the end.
        warm_up: Steps until the highest learning rate.
        typo_share: Share of the queries that get typing errors; their targets are those of the clean text.
        variant_share: Share of the queries that are given as keywords, in lower case without punctuation, or without
            one word (English); their targets are those of the clean text too.
        seed: Seed of everything that is drawn at random.
    """

    steps: PositiveInt
    batch: PositiveInt = 128
    learning_rate: PositiveFloat
    final_share: Share
    warm_up: NonNegativeInt
    typo_share: Share = 0.15
    variant_share: Share = 0.0
    seed: NonNegativeInt = 0

    def with_steps(self, steps: int) -> Self:
        """Return the settings with another number of steps; a warm-up of more than a tenth of them is cut."""
        return replace(self, steps=steps, warm_up=min(self.warm_up, steps // 10))

    def learning_rate_share(self, step: int) -> float:
        """Return the share of the highest learning rate at a step.

        A linear warm-up, then a cosine (Loshchilov and Hutter 2017).
        """
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


@dataclass(frozen=True, kw_only=True)
class StepSettings(LoopSettings):
    """Settings of a training towards the full encoder's vectors; see `LoopSettings` for those not listed here.

    Args:
        score_weight: Weight of the loss over score distributions, relative to the alignment loss.
        temperature: Temperature of the score distributions.
        n_random: Number of random passages in the bank of a batch, in addition to the nearest ones.
    """

    score_weight: NonNegativeFloat = 0.3
    temperature: PositiveFloat = 0.03
    n_random: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class SubnetSettings(LoopSettings):
    """Settings of a training of subnets; see `LoopSettings` for those that are not listed here.

    Args:
        learning_rate: Highest learning rate of the shared weights.
        exit_learning_rate: Highest learning rate of exits and layer norms, each of which serves few subnets.
        weight_decay: Weight decay of matrices; norms and biases have none.
        clip: Greatest norm of the gradient.
        equilibrium: Exponent of the weights of the subnets' losses, from 0 (all alike) to 1; see `subnet_training`.
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
    tune_tokens: bool = False
    bfloat16: bool = True
    subnets: tuple[str, ...] = ()
    n_sampled_subnets: NonNegativeInt = 0

    def __post_init__(self) -> None:
        for name in self.subnets:
            Subnet.parse(name)


@dataclass(frozen=True, kw_only=True)
class DistilSettings(SubnetSettings, StepSettings):
    """Settings of the distillation into the subnets; see `SubnetSettings` and `StepSettings` for those not listed here.

    Args:
        steps: Number of optimiser steps; 0 leaves the subnets as they were initialised.
        difficulty: Exponent of the weights with which texts are drawn, (1 - cosine) ** `difficulty`; 0 reads all texts
            equally often. See `difficulty.py`.
        difficulty_every: Steps until these cosines are computed again.
        difficulty_subnet: Subnet whose cosines they are; empty is the one in the middle of those that are trained.
        difficulty_texts: Maximum number of texts whose cosines are computed at a time, drawn at random.

    Raises:
        QueryError: A name in `subnets`, or `difficulty_subnet`, is not that of a subnet.
    """

    steps: NonNegativeInt
    n_random: NonNegativeInt = 512
    difficulty: NonNegativeFloat = 0.0
    difficulty_every: PositiveInt = 1000
    difficulty_subnet: str = ""
    difficulty_texts: PositiveInt = 200_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.difficulty_subnet:
            Subnet.parse(self.difficulty_subnet)


TABLE_STARTS = ("embeddings", "outputs")
"""Vectors of tokens from which those of level 0 can be fitted."""


@dataclass(frozen=True, kw_only=True)
class TableSettings(StepSettings):
    """Settings of level 0, the token table that all subnets build upon: of its fit and of its tuning.

    See `StepSettings` for the settings of the tuning.

    Args:
        start: What the fit starts from: `embeddings`, the encoder's word embeddings, or `outputs`, its vectors of each
            token alone, which are much better where texts are few; not for students.
        steps: Number of optimiser steps; 0 leaves the table as it was fitted.
        ridge_map: Penalty on the matrix that maps word embeddings, or changes the vectors of tokens; see `fit_table`.
        ridge: Penalty on the change of each vector; see `fit_table`.
        iterations: Maximum number of iterations of the fit; see `fit_table`.
        fit_batch: Texts of a batch of the fit, which reads every text once.

    Raises:
        BadInputError: There is no such start.
    """

    start: str = TABLE_STARTS[0]
    steps: NonNegativeInt = 1500
    learning_rate: PositiveFloat = 3e-3  # more than layers need, as token vectors have lengths of about 1
    final_share: Share = 0.05
    warm_up: NonNegativeInt = 20
    n_random: NonNegativeInt = 256
    ridge_map: PositiveFloat = 10.0
    ridge: PositiveFloat = 0.01
    iterations: NonNegativeInt = 15
    fit_batch: PositiveInt = 128

    def __post_init__(self) -> None:
        if self.start not in TABLE_STARTS:
            raise BadInputError(f"got start = {self.start!r} of [table], expected one of {', '.join(TABLE_STARTS)}")


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


SELECTION_RULES = ("mean", "mean-and-worst")
"""Rules of snapshot selection: by the mean retention over the dev sets, or by its mean with the worst one."""

_FILE_KEYS = {"subnets": "sizes", "n_sampled_subnets": "n_sampled"}
"""Field -> key in files whose format keeps an earlier name."""


_ADDED_FIELDS = frozenset(
    {
        *("model", "start", "map_ridge", "variant_share", "recycled_layers", "recycled_dtype"),
        *("difficulty", "difficulty_every", "difficulty_subnet", "difficulty_texts"),
    }
)
"""Fields that files hold only with another value than their default, which changes nothing: they were added later, and
a training from before still resumes."""

_WITHOUT_EFFECT = frozenset({"recycled_gb"})
"""Fields that no result depends on, so that an interrupted training resumes with another value."""


def settings_to_json(settings: InitSettings | LoopSettings) -> dict[str, Any]:
    """Return settings as checkpoints and the elastic.json of a model hold them: with the keys of that format."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    defaults = {field.name: field.default for field in fields(settings) if field.name in _ADDED_FIELDS}
    return {
        _FILE_KEYS.get(name, name): value
        for name, value in values.items()
        if name not in _WITHOUT_EFFECT and (name not in defaults or value != defaults[name])
    }
