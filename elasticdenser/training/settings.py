"""The settings of a recipe: all that makes an elastic encoder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import parse_measures
from elasticdenser.training.distil import DistilSettings
from elasticdenser.training.table import TableSettings
from elasticdenser.training.texts import TextSource

_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class StartSettings:
    """How the sizes are fitted before they are trained.

    Args:
        batch: Texts of a batch.
        exit_batches: Batches that the exits are fitted to; never more than hold every text once.
        reorder: Whether the most useful heads and neurons are put first.
        first_batches: Of these batches, those that exits are fitted to before heads and neurons are compared.
        importance_batches: Of these batches, those that heads and neurons are compared on.
        ridge: Weight of what the exits were, as the number of texts that would weigh as much.
        seed: Of the batches.
    """

    batch: int = 128
    exit_batches: int = 160
    reorder: bool = True
    first_batches: int = 64
    importance_batches: int = 24
    ridge: float = 100.0
    seed: int = 12345

    def __post_init__(self) -> None:
        for name in ("batch", "exit_batches", "first_batches", "importance_batches", "ridge"):
            if not getattr(self, name) > 0:
                raise BadInputError(f"got {name} = {getattr(self, name)}; expected a number above 0")
        if self.seed < 0:
            raise BadInputError(f"got seed = {self.seed}; expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class TableRecipe(TableSettings):
    """How level 0, which all sizes build upon, is made: the settings of its tuning, and of the fit before it.

    Args:
        ridge_map: See `fit_table`.
        ridge: See `fit_table`.
        iterations: See `fit_table`.
        fit_batch: Texts of a batch of the fit, which goes once through the texts.
    """

    steps: int = 1500
    learning_rate: float = 3e-3
    ridge_map: float = 10.0
    ridge: float = 0.01
    iterations: int = 15
    fit_batch: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.ridge_map, self.ridge, self.fit_batch) <= 0 or self.iterations < 0:
            raise BadInputError("expected ridge_map, ridge and fit_batch above 0 and iterations from 0")


@dataclass(frozen=True, kw_only=True)
class DevSetSettings:
    """Queries with judgements or answers, which snapshots are compared on; nothing is trained on them.

    Args:
        path: As `load_queries` takes it, relative to the data folder.
        measure: What to compare by, such as `nDCG@10` or `AnswerMatch@20`.
        split: Of a BEIR folder; there it must be said, lest the test queries are taken.
        index: Passages to search, as an index of the same encoder; without it and `passages` the recipe's own.
        passages: Passages to search, as a corpus.
        limit: Queries at most, drawn at random; 0 is all of them.
        exact: Whether all vectors are scanned, instead of using the index's structure.
        regex: Whether answers are regular expressions.
    """

    path: str
    measure: str
    split: str = ""
    index: str = ""
    passages: tuple[str, ...] = ()
    limit: int = 1000
    exact: bool = False
    regex: bool = False

    def __post_init__(self) -> None:
        if self.index and self.passages:
            raise BadInputError("expected 'index' or 'passages', not both", self.path)
        if self.limit < 0:
            raise BadInputError(f"got limit = {self.limit}; expected 0, which takes all, or more", self.path)
        parse_measures([self.measure])


@dataclass(frozen=True, kw_only=True)
class Basics:
    """The keys of a recipe that stand in no section.

    Paths are relative to the folder of the data, or absolute; that of an encoder, to where the command runs.

    Args:
        title: What is made.
        seed: Of the texts that are drawn, and of `distil` and `table` where they do not say their own.
        encoder: Full encoder: folder or id; by default the one that made the index, else all-MiniLM-L6-v2.
        query_prompt: Put before each query; empty is the index's or the encoder's own.
        passage_prompt: Put before each passage; empty is the index's or the encoder's own.
        max_length: Tokens that are read of a text; 0 is the index's or the encoder's own.
        index: Folder of an index of that encoder, whose passages vectors are compared with in training.
        passages: Corpus that such an index is made of, where there is none.
        n_neighbours: Nearest passages of each text that training looks at.
        target_dtype: Arithmetic of the full encoder when it makes the targets: `auto`, `float32`, `bfloat16`, or
            `float16` on a GPU.
        widths: Of the sizes; by default those of 1, 1/2 and 1/4 that leave whole heads.
        depths: Of the sizes; by default those of 1, 2, 3, 4 and 6 that the encoder has, and all its layers.
        snapshot_every: Steps between snapshots; 0 makes twelve.
        candidates: How many of the last snapshots are compared on the dev sets.
    """

    title: str = ""
    seed: int = 0
    encoder: str = ""
    query_prompt: str = ""
    passage_prompt: str = ""
    max_length: int = 0
    index: str = ""
    passages: tuple[str, ...] = ()
    n_neighbours: int = 8
    target_dtype: str = "auto"
    widths: tuple[float, ...] = ()
    depths: tuple[int, ...] = ()
    snapshot_every: int = 0
    candidates: int = 4

    def __post_init__(self) -> None:
        if self.index and self.passages:
            raise BadInputError("got both 'index' and 'passages', which an index would be made of: give one")
        if self.target_dtype not in _DTYPES:
            raise BadInputError(f"got target_dtype = {self.target_dtype!r}; expected one of {', '.join(_DTYPES)}")
        least = {"seed": 0, "max_length": 0, "n_neighbours": 1, "snapshot_every": 0, "candidates": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise BadInputError(f"got {name} = {getattr(self, name)}; expected at least {lowest}")


@dataclass(frozen=True, kw_only=True)
class Recipe(Basics):
    """All that makes an elastic encoder.

    Args:
        texts: What is trained on.
        start: How the sizes are fitted before.
        distil: How they are trained.
        table: How level 0 is made; None makes none.
        choose: Dev sets.

    Raises:
        BadInputError: Something cannot be.
    """

    texts: tuple[TextSource, ...]
    distil: DistilSettings
    start: StartSettings = field(default_factory=StartSettings)
    table: TableRecipe | None = None
    choose: tuple[DevSetSettings, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.texts:
            raise BadInputError("there are no texts to train on: expected at least one table [[texts]]")
        for dev in self.choose:
            if not (dev.index or dev.passages or self.index or self.passages):
                raise BadInputError("there are no passages to search: give it 'index' or 'passages'", dev.path)
        names = [(dev.path, dev.split, dev.measure) for dev in self.choose]
        if len(set(names)) < len(names):
            raise BadInputError("a dev set with one split and measure stands twice in [[choose]]: take one out")

    @property
    def every(self) -> int:
        """Steps between snapshots."""
        return self.snapshot_every or max(1, round(self.distil.steps / 12))

    def changed(self, *, encoder: str = "", index: str = "", steps: int = 0) -> Recipe:
        """Return the recipe with what a caller wants otherwise; what is empty or 0 stays.

        Args:
            encoder: Full encoder.
            index: Index to use, also instead of `passages`.
            steps: Of distillation; a warm-up of more than a tenth of them is cut, and level 0 gets no more steps.
        """
        recipe = replace(self, encoder=encoder or self.encoder)
        if index:
            recipe = replace(recipe, index=index, passages=())
        if steps:
            warm_up = min(self.distil.warm_up, steps // 10)
            recipe = replace(recipe, distil=replace(self.distil, steps=steps, warm_up=warm_up))
            if self.table is not None:
                recipe = replace(recipe, table=replace(self.table, steps=min(self.table.steps, steps)))
        return recipe
