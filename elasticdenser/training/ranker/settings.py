"""Settings of the parts of a ranker's training: queries, candidates, teachers, initialisation, steps and dev lists.

Ranges in the annotations are checked where a recipe is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from elasticdenser.errors import BadInputError
from elasticdenser.training.ranker.losses import LABEL_LOSSES, TEACHER_LOSSES
from elasticdenser.training.settings import (
    DevSetSettings,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    SubnetSettings,
)

_HELD_OUT = ("dev", "test", "valid", "eval")
"""Beginnings of the names of splits that nothing may be trained on."""


@dataclass(frozen=True, kw_only=True)
class QuerySetSource:
    """Queries by id, with judgements, with the hits of a run, or both.

    Args:
        path: A BEIR folder, or what `load_queries` takes, absolute or relative to the data folder.
        split: Split of the judgements and queries; empty reads no judgements. Judged documents that are not among the
            passages are left out.
        run: TREC run file whose best hits become candidates; a teacher of the kind `run` takes its scores.
        limit: Maximum number of queries, drawn at random; 0 is all of them.

    Raises:
        BadInputError: There is neither a split nor a run, or the split is one to be held out.
    """

    path: str
    split: str = ""
    run: str = ""
    limit: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if not (self.split or self.run):
            raise BadInputError(
                "got neither 'split' nor 'run', expected judgements or hits: or use [[texts]]", self.path
            )
        if self.split.lower().startswith(_HELD_OUT):
            raise BadInputError(
                f"got split = {self.split!r}, expected one to train on, such as train: held-out queries are for "
                "[[dev_lists]]",
                self.path,
            )


@dataclass(frozen=True, kw_only=True)
class ListSettings:
    """Settings of the pool of candidates of a query, from which each step draws a list.

    Args:
        n_hard: Candidates from the encoder's own index: half of them the nearest passages, half drawn from the others.
        hard_depth: Number of nearest passages that these are drawn from.
        n_bm25: Candidates from BM25, drawn in the same way; needs pyserini.
        bm25_depth: Number of BM25 hits that these are drawn from.
        n_run: Best hits of the run of a query set.
        n_random: Candidates drawn from all passages.
        n_judged: Judged passages, the most relevant ones first.
    """

    n_hard: NonNegativeInt = 20
    hard_depth: PositiveInt = 100
    n_bm25: NonNegativeInt = 0
    bm25_depth: PositiveInt = 100
    n_run: NonNegativeInt = 50
    n_random: NonNegativeInt = 4
    n_judged: NonNegativeInt = 8


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Settings of a teacher: target scores for pairs of a query and a candidate.

    The scores of several teachers are added up, each scaled to 0 to 1 within a query's pool (min-max).

    Args:
        kind: `encoder`: inner products of the vectors of a sentence encoder of any kind.
            `bm25`: scores of BM25; needs pyserini. `run`: scores of the runs of the query sets.
        path: Encoder of the teacher: a folder or a hub id; a folder may be relative to the data folder.
        weight: Weight of its scaled scores.
        max_length: Maximum number of tokens of a text; 0 is the encoder's own.
    """

    kind: str
    path: str = ""
    weight: PositiveFloat = 1.0
    max_length: NonNegativeInt = 0


@dataclass(frozen=True, kw_only=True)
class RankerInitSettings:
    """Settings of the initialisation of a ranker.

    Args:
        model: Trained elastic encoder whose trunk training starts from; empty starts from the full encoder's weights.
        reorder: Whether heads and neurons are sorted by importance; without effect on a trained encoder's, which are
            sorted already.
        lists: Lists that the exits are fitted to; 0 leaves them at zero.
        importance_lists: Number of these lists that importance is measured on.
        ridge: Penalty on the exits, as a number of pairs.
    """

    model: str = ""
    reorder: bool = True
    lists: NonNegativeInt = 256
    importance_lists: NonNegativeInt = 64
    ridge: PositiveFloat = 100.0


@dataclass(frozen=True, kw_only=True)
class RankerSettings(SubnetSettings):
    """Settings of the training of a ranker; see `SubnetSettings` for those that are not listed here.

    The largest subnet is trained at every step: the others learn from it, too.

    Args:
        batch: Queries of a step.
        list_size: Candidates of a query that a step reads; with judgements one of them is relevant.
        teacher_loss: Loss over the teachers' scores, one of `losses.TEACHER_LOSSES`.
        teacher_weight: Its weight.
        teacher_scale: Factor of the teachers' scores, which lie between 0 and the sum of the weights.
        label_loss: Loss over judgements, one of `losses.LABEL_LOSSES`.
        label_weight: Its weight.
        calibration: Calibration of the loss `gbce`, from 0 (binary cross-entropy) to 1.
        false_negative_share: Candidates that nobody judged are no negatives if their teachers' score is above this
            share of that of the best relevant one.
        inplace_share: Share of the distillation from the largest subnet in the loss of the others.

    Raises:
        BadInputError: There is no such loss.
    """

    batch: PositiveInt = 16
    list_size: PositiveInt = 8
    learning_rate: PositiveFloat = 1e-4
    warm_up: NonNegativeInt = 100
    teacher_loss: str = "margin-mse"
    teacher_weight: NonNegativeFloat = 1.0
    teacher_scale: PositiveFloat = 5.0
    label_loss: str = "lce"
    label_weight: NonNegativeFloat = 1.0
    calibration: Share = 0.75
    false_negative_share: PositiveFloat = 0.95
    inplace_share: Share = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, losses in (("teacher_loss", TEACHER_LOSSES), ("label_loss", LABEL_LOSSES)):
            if getattr(self, name) not in losses:
                raise BadInputError(f"got {name} = {getattr(self, name)!r}, expected one of {', '.join(losses)}")
        if self.list_size < 2:
            raise BadInputError(f"got list_size = {self.list_size}, expected at least 2: a list is compared within")


@dataclass(frozen=True, kw_only=True)
class DevListSettings(DevSetSettings):
    """Queries with judgements or answers whose candidates are ranked to compare snapshots; see `DevSetSettings`.

    Args:
        limit: Maximum number of queries.
        run: TREC run file of the candidates; empty takes the nearest passages of the encoder's own index.
        k: Candidates of a query.
    """

    limit: NonNegativeInt = 200
    run: str = ""
    k: PositiveInt = 50
