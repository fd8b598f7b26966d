"""Recipes of encoders: all that determines an elastic encoder, in one TOML file; `kinds` reads those of other models.

title = "..."       seed = 1            encoder = "ID or folder"        target_dtype = "auto"
teacher = "ID or folder" or teacher_vectors = "FILE" (and space = "NAME"): makes a student; see `teacher`
index = "..." or passages = [...]       n_neighbours = 8                query_prompt, passage_prompt, max_length
widths = [...]      depths = [...] or layers = [[...]]      snapshot_every = 500
candidates = 4      select_by = "mean"
[[texts]]           path, kind, limit: see `TextSource`
[init]              see `InitSettings`; `model` starts from trained subnets
[distil]            see `DistilSettings`
[table]             see `TableSettings`; without it there is no level 0
[[dev_sets]]        see `DevSetSettings`; without them the last snapshot is taken
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from elasticdenser.dataclass_io import from_value, read_toml
from elasticdenser.datasets import open_corpus
from elasticdenser.errors import BadInputError
from elasticdenser.training.settings import (
    SELECTION_RULES,
    DevSetSettings,
    DistilSettings,
    InitSettings,
    NonNegativeInt,
    PositiveInt,
    TableSettings,
)
from elasticdenser.training.texts import TextSource

DEFAULT_STEPS = 2000
"""Steps without a recipe: about an hour for a small encoder on two cores."""

_MAX_CUT_TEXTS = 100_000
"""Maximum number of titles, and of spans, from a user's corpus: `DEFAULT_STEPS` steps read 256,000 texts in all."""

_N_SNAPSHOTS = 12
"""Snapshots unless the recipe says otherwise: the four that are compared cover the last third of the training."""

_TABLE = TableSettings(start="outputs")
"""Level 0 without a recipe starts from vectors of single tokens, which are much better where texts are few."""

_STUDENT_TABLE = TableSettings(ridge_map=1.0, ridge=0.1)
"""Level 0 of a student, which mostly learns from fewer texts: the best of a few settings for 3,000 queries."""

_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that determines an elastic encoder.

    Paths are absolute or relative to the data folder; that of an encoder is relative to the current folder.

    Args:
        title: Title of the model.
        seed: Seed of the texts that are drawn, and of `distil` and `table` where these do not have their own.
        encoder: Full encoder: folder or id; by default the one that made the index, else all-MiniLM-L6-v2.
        teacher: Another encoder, in whose vector space the subnets shall answer: folder or id; empty is `encoder`.
            `encoder` is then by default the elastic one in this package.
        teacher_vectors: Instead of `teacher` and `texts`: texts with its vectors; see `read_given_vectors`.
        space: Name of the model that made `teacher_vectors`, where there is no index of it.
        query_prompt: Text that the teacher puts before each query; empty is the index's or its own.
        passage_prompt: Text that the teacher puts before each passage; empty is the index's or its own.
        max_length: Maximum number of tokens of a text for the teacher; 0 is the index's or its own.
        index: Folder of an index of that encoder, whose passages vectors are compared with in training.
        passages: Corpus to build such an index of, where there is none.
        n_neighbours: Nearest passages of each text that training looks at.
        target_dtype: Arithmetic in which the full encoder computes the targets: `auto`, `float32`, `bfloat16`, or
            `float16` on a GPU.
        widths: Widths of the subnets; by default those of 1, 1/2 and 1/4 that leave whole heads.
        depths: Depths of the subnets; by default those of 1, 2, 3, 4 and 6 that the encoder has, and all its layers.
        layers: Instead of `depths`: the layers of each, counted from 0. By default a depth has the first ones and the
            last two.
        snapshot_every: Steps between snapshots; 0 makes twelve.
        candidates: How many of the last snapshots are compared on the dev sets.
        texts: Sources of the training texts.
        init: Settings of the initialisation.
        distil: Settings of the distillation.
        table: Settings of level 0; None makes none.
        dev_sets: Dev sets that a snapshot is selected on.
        select_by: Rule of the selection: `mean`, or `mean-and-worst`, which counts each subnet's worst dev set as much
            as its mean; see `selection.py`.

    Raises:
        BadInputError: Settings are missing or contradict each other.
    """

    title: str = ""
    seed: NonNegativeInt = 0
    encoder: str = ""
    teacher: str = ""
    teacher_vectors: str = ""
    space: str = ""
    query_prompt: str = ""
    passage_prompt: str = ""
    max_length: NonNegativeInt = 0
    index: str = ""
    passages: tuple[str, ...] = ()
    n_neighbours: PositiveInt = 8
    target_dtype: str = "auto"
    widths: tuple[float, ...] = ()
    depths: tuple[int, ...] = ()
    layers: tuple[tuple[NonNegativeInt, ...], ...] = ()
    snapshot_every: NonNegativeInt = 0
    candidates: PositiveInt = 4
    texts: tuple[TextSource, ...] = ()
    init: InitSettings = field(default_factory=InitSettings)
    distil: DistilSettings
    table: TableSettings | None = None
    dev_sets: tuple[DevSetSettings, ...] = ()
    select_by: str = "mean"

    def __post_init__(self) -> None:
        if self.index and self.passages:
            raise BadInputError("got both 'index' and 'passages', which an index would be built of: give one of them")
        if self.target_dtype not in _DTYPES:
            raise BadInputError(f"got target_dtype = {self.target_dtype!r}, expected one of {', '.join(_DTYPES)}")
        if self.select_by not in SELECTION_RULES:
            raise BadInputError(f"got select_by = {self.select_by!r}, expected one of {', '.join(SELECTION_RULES)}")
        self._check_teacher()
        for dev in self.dev_sets:
            if not (dev.index or dev.passages or self.index or self.passages):
                raise BadInputError("there are no passages to search: give the recipe 'index' or 'passages'", dev.path)
        if self.init.model and self.has_grid:
            raise BadInputError(
                "got 'init.model' and widths, depths or layers, expected one of them: the model has its own"
            )
        self._check_layers()
        names = [(dev.path, dev.split, dev.measure) for dev in self.dev_sets]
        if len(set(names)) < len(names):
            raise BadInputError("two tables [[dev_sets]] have the same path, split and measure: remove one of them")

    def _check_layers(self) -> None:
        if self.depths and self.layers:
            raise BadInputError("got both 'depths' and 'layers', expected one of them: layers have their depths")
        lengths = [0, *map(len, self.layers)]
        if not all(length < following for length, following in pairwise(lengths)):
            raise BadInputError(f"got lists of {lengths[1:]} layers, expected each to be longer than the one before")

    def _check_teacher(self) -> None:
        if self.is_student and self.table is not None and self.table.start == "outputs":
            raise BadInputError("got start = 'outputs' of [table], expected 'embeddings' for a student")
        if not self.teacher_vectors:
            if not self.texts:
                raise BadInputError("there are no texts to train on: add at least one table [[texts]]")
            if self.space:
                raise BadInputError("got 'space' without 'teacher_vectors', which are in it: leave it out")
            return
        clashing = {
            "teacher": "it has the vectors already",
            "texts": "it has texts already",
            "passages": "only those of a finished 'index' have vectors",
            "dev_sets": "their queries have no vectors",
        }
        for name, reason in clashing.items():
            if getattr(self, name):
                raise BadInputError(f"got both 'teacher_vectors' and {name!r}, expected one of them: {reason}")

    @property
    def is_student(self) -> bool:
        """Whether the subnets answer in the vector space of another model."""
        return bool(self.teacher or self.teacher_vectors)

    @property
    def has_grid(self) -> bool:
        """Whether it says something of the grid of subnets."""
        return bool(self.widths or self.depths or self.layers)

    @property
    def snapshot_interval(self) -> int:
        """Steps between snapshots."""
        return self.snapshot_every or max(1, round(self.distil.steps / _N_SNAPSHOTS))

    def changed(
        self, *, encoder: str = "", index: str = "", steps: int | None = None, teacher: str = "", space: str = ""
    ) -> Recipe:
        """Return a copy of the recipe with some settings replaced; what is empty or None stays.

        Args:
            encoder: Full encoder.
            index: Index to use, also instead of `passages`.
            teacher: Another encoder, in whose vector space the subnets shall answer.
            space: Name of the model that made `teacher_vectors`.
            steps: Steps of the distillation; a warm-up of more than a tenth of them is cut, and level 0 gets no more
                steps. 0 leaves out the distillation alone: the tuning of level 0 takes a minute, and students need it.

        Raises:
            BadInputError: `steps` is negative.
        """
        recipe = replace(
            self, encoder=encoder or self.encoder, teacher=teacher or self.teacher, space=space or self.space
        )
        if index:
            recipe = replace(recipe, index=index, passages=())
        if steps is not None:
            if steps < 0:
                raise BadInputError(f"got {steps} steps, expected at least 0")
            recipe = replace(recipe, distil=self.distil.with_steps(steps))
            if steps and self.table is not None:
                recipe = replace(recipe, table=replace(self.table, steps=min(self.table.steps, steps)))
        return recipe


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file.

    Raises:
        BadInputError: The file is missing, not TOML, or holds settings that are unknown or out of range.
    """
    return read_toml(path, "recipe", encoder_recipe)


def default_recipe(
    queries: Sequence[str],
    passages: Sequence[str],
    *,
    teacher: str = "",
    teacher_vectors: str = "",
    steps: int = DEFAULT_STEPS,
) -> Recipe:
    """Return a recipe for a user's own queries, passages, or both.

    Args:
        queries: Files and folders of queries, ids of ir_datasets.
        passages: Corpora. Their titles and spans become training texts, and their passages the bank.
        teacher: Another encoder, in whose vector space the subnets shall answer.
        teacher_vectors: Instead of queries and passages: texts with the vectors of a teacher.
        steps: Steps of the distillation.

    Raises:
        BadInputError: There are neither queries nor passages, a corpus cannot be read, or `steps` is below 1.
    """
    texts = [TextSource(path=path, kind="queries") for path in queries]
    for path in passages:
        # A corpus either has titles or not: reading its beginning is enough.
        if any(passage.title for passage in islice(open_corpus([path]), 1000)):
            texts.append(TextSource(path=path, kind="titles", limit=_MAX_CUT_TEXTS))
        texts.append(TextSource(path=path, kind="spans", limit=_MAX_CUT_TEXTS))
    warm_up = min(DistilSettings.warm_up, steps // 10)
    distil = from_value(DistilSettings, {"steps": steps, "warm_up": warm_up}, "distil")
    return Recipe(
        texts=tuple(texts),
        passages=tuple(passages),
        teacher=teacher,
        teacher_vectors=teacher_vectors,
        distil=distil,
        table=_STUDENT_TABLE if teacher or teacher_vectors else _TABLE,
    )


def encoder_recipe(value: dict[str, Any]) -> Recipe:
    """Return the recipe of a TOML file's content.

    Raises:
        BadInputError: Settings are unknown, out of range, or contradict each other.
    """
    for name in ("texts", "dev_sets"):
        if isinstance(value.get(name), dict):
            raise BadInputError(f"{name} is a single table, expected a list of tables: write [[{name}]]")
    for name in ("distil", "table"):
        if "seed" in value and isinstance(value.get(name), dict):
            value = {**value, name: {"seed": value["seed"], **value[name]}}
    return from_value(Recipe, value, "recipe")
