"""Recipes of rankers: all that determines an elastic ranker, in one TOML file.

trains = "ranker"   title = "..."       seed = 1            encoder = "ID or folder"
index = "..." or passages = [...]       max_length = 192    max_query_length = 48     pooling = "cls"
widths = [...]      depths = [...]      snapshot_every = 0  candidates = 4            select_by = "mean"
[[texts]]           queries without labels: path, kind, limit: see `TextSource`
[[query_sets]]      queries by id, with judgements, a run, or both: see `QuerySetSource`
[lists]             see `ListSettings`
[[teachers]]        see `TeacherSettings`; without them there must be judgements
[init]              see `RankerInitSettings`
[train]             see `RankerSettings`
[[dev_lists]]       see `DevListSettings`; without them the last snapshot is taken
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError
from elasticdenser.models.poolings import OWN_POOLINGS
from elasticdenser.models.ranker_manifest import PairSettings
from elasticdenser.training.ranker.settings import (
    DevListSettings,
    ListSettings,
    QuerySetSource,
    RankerInitSettings,
    RankerSettings,
    TeacherSettings,
)
from elasticdenser.training.ranker.teachers import TEACHERS
from elasticdenser.training.settings import SELECTION_RULES, NonNegativeInt, PositiveInt
from elasticdenser.training.texts import TextSource

_N_SNAPSHOTS = 12
"""Snapshots unless the recipe says otherwise."""


@dataclass(frozen=True, kw_only=True)
class RankerRecipe:
    """All that determines an elastic ranker.

    Paths are absolute or relative to the data folder; that of an encoder is relative to the current folder.

    Args:
        title: Title of the model.
        seed: Seed of what is drawn before the training, and of `train` where it does not have its own.
        encoder: Sentence encoder that the ranker is made of, and that finds the hard candidates.
        index: Folder of an index of that encoder.
        passages: Corpus to build such an index of, where there is none.
        widths: Widths of the subnets; by default those of 1, 1/2 and 1/4 that leave whole heads.
        depths: Depths of the subnets; by default those of 1, 2, 3, 4 and 6 that the encoder has, and all its layers.
        pooling: What the exits take: `cls` or `mean`.
        max_length: Maximum number of tokens of a pair.
        max_query_length: Maximum number of tokens of the query.
        snapshot_every: Steps between snapshots; 0 makes twelve.
        candidates: How many of the last snapshots are compared on the dev lists.
        select_by: Rule of the selection, as for an encoder.
        texts: Sources of queries without judgements.
        query_sets: Sources of queries by id.
        lists: Settings of the candidates.
        teachers: The teachers.
        init: Settings of the initialisation.
        train: Settings of the training.
        dev_lists: Lists that a snapshot is selected on.

    Raises:
        BadInputError: Settings are missing or contradict each other.
    """

    title: str = ""
    seed: NonNegativeInt = 0
    encoder: str = ""
    index: str = ""
    passages: tuple[str, ...] = ()
    widths: tuple[float, ...] = ()
    depths: tuple[int, ...] = ()
    pooling: str = "cls"
    max_length: PositiveInt = 192
    max_query_length: PositiveInt = 48
    snapshot_every: NonNegativeInt = 0
    candidates: PositiveInt = 4
    select_by: str = "mean"
    texts: tuple[TextSource, ...] = ()
    query_sets: tuple[QuerySetSource, ...] = ()
    lists: ListSettings = field(default_factory=ListSettings)
    teachers: tuple[TeacherSettings, ...] = ()
    init: RankerInitSettings = field(default_factory=RankerInitSettings)
    train: RankerSettings
    dev_lists: tuple[DevListSettings, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.index) == bool(self.passages):
            raise BadInputError("give either 'index' or 'passages': candidates are drawn from them")
        if not (self.texts or self.query_sets):
            raise BadInputError("there are no queries to train on: add a table [[texts]] or [[query_sets]]")
        self._check_teachers()
        if not self.teachers and (self.texts or not any(source.split for source in self.query_sets)):
            raise BadInputError("some queries have neither judgements nor a teacher: add a table [[teachers]]")
        if self.pooling not in OWN_POOLINGS:
            raise BadInputError(f"got pooling = {self.pooling!r}, expected one of {', '.join(OWN_POOLINGS)}")
        if self.select_by not in SELECTION_RULES:
            raise BadInputError(f"got select_by = {self.select_by!r}, expected one of {', '.join(SELECTION_RULES)}")
        names = [(dev.path, dev.split, dev.measure, dev.run) for dev in self.dev_lists]
        if len(set(names)) < len(names):
            raise BadInputError("two tables [[dev_lists]] have the same path, split, measure and run: remove one")

    def _check_teachers(self) -> None:
        for teacher in self.teachers:
            if teacher.kind not in TEACHERS:
                raise BadInputError(f"got a teacher of kind {teacher.kind!r}, expected one of {', '.join(TEACHERS)}")
            if teacher.kind == "encoder" and not teacher.path:
                raise BadInputError("a teacher of kind 'encoder' needs 'path': a folder or a hub id")
            if teacher.kind == "run" and (self.texts or not all(source.run for source in self.query_sets)):
                raise BadInputError("a teacher of kind 'run' needs a run of every query: give each query set 'run'")

    @property
    def pair_settings(self) -> PairSettings:
        """Lengths of pairs."""
        return from_value(
            PairSettings, {"max_length": self.max_length, "max_query_length": self.max_query_length}, "recipe"
        )

    @property
    def snapshot_interval(self) -> int:
        """Steps between snapshots."""
        return self.snapshot_every or max(1, round(self.train.steps / _N_SNAPSHOTS))

    @property
    def needs_bm25(self) -> bool:
        """Whether candidates or teachers come from BM25."""
        return bool(self.lists.n_bm25) or any(teacher.kind == "bm25" for teacher in self.teachers)

    def changed(
        self, *, encoder: str = "", index: str = "", steps: int | None = None, teacher: str = "", space: str = ""
    ) -> RankerRecipe:
        """Return a copy of the recipe with some settings replaced; what is empty or None stays.

        Args:
            encoder: Sentence encoder.
            index: Index to use, also instead of `passages`.
            steps: Steps of the training; a warm-up of more than a tenth of them is cut.
            teacher: Refused, as `space` is: the recipe has its teachers.
            space: See `teacher`.

        Raises:
            BadInputError: `steps` is below 1, or a teacher is given.
        """
        if teacher or space:
            raise BadInputError("got a teacher for a ranker, whose recipe has its [[teachers]]: leave it out")
        recipe = replace(self, encoder=encoder or self.encoder)
        if index:
            recipe = replace(recipe, index=index, passages=())
        if steps is not None:
            if steps < 1:
                raise BadInputError(f"got {steps} steps, expected at least 1")
            recipe = replace(recipe, train=self.train.with_steps(steps))
        return recipe


def ranker_recipe(value: dict[str, Any]) -> RankerRecipe:
    """Return the recipe of a TOML file's content, without `trains`.

    Raises:
        BadInputError: Settings are unknown, out of range, or contradict each other.
    """
    for name in ("texts", "query_sets", "teachers", "dev_lists"):
        if isinstance(value.get(name), dict):
            raise BadInputError(f"{name} is a single table, expected a list of tables: write [[{name}]]")
    if "seed" in value and isinstance(value.get("train"), dict):
        value = {**value, "train": {"seed": value["seed"], **value["train"]}}
    return from_value(RankerRecipe, value, "recipe")
