"""Contents of a suite file, table by table.

    title = "..."   baseline = "auto"   k = 1000

    [corpora.NAME]
    title, sources = [...] or index = "..."

    [query-sets.NAME]
    title, corpus, source, split, measures = [...], k, regex, ignore_identical_ids
    typing_errors = 2               # adds this many typing errors to every query; judgements and answers stay the same
    perturbation = "dropped-word"   # or a slip of another kind, one of `datasets.perturbations`

    [systems.NAME]
    type = "dense"                  # or "hybrid", "bm25", "rrf", "weighted", "rerank", "run", each with its settings
    subnet = "w0.5-d3"              # a subnet of the query encoder; without this key, the full subnet
    subnet = ["w1-d6", "level0"]    # several subnets: a system for each, named NAME.w1-d6 and NAME.level0
    subnet = "all"                  # every subnet of the encoder
    precision = "fp32"              # arithmetic of the query encoder; without this key, that of `serve`: the fastest

    [systems.NAME-reranked]
    type = "rerank"
    over = "NAME"                   # the system whose hits are reranked
    candidates = 50                 # hits of each query to rerank
    subnet = "w0.5-d3"              # a subnet of the ranker; without this key, the largest
    stages = ["100:w0.25-d1", "30:w0.5-d3"]     # instead of candidates and subnet: a cascade
    ranker = "models/ranker"        # its folder; without this key, the ranker of this package
    first_stage_weight = 0.2        # of the scores of NAME, which are scaled to 0 to 1 where it is not of type dense;
                                    # without this key, that in the ranker's manifest for type dense, else 0

    [register]
    "id/of/ir_datasets" = "nq-test.qa.csv"

If a system has several subnets, `--system NAME` means all of them, and `--system NAME.level0` one of them. Where a
single system is needed, as the baseline, in a fusion (`of`) or to be reranked (`over`), NAME means its largest subnet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from elasticdenser.datasets.perturbations import check_perturbation
from elasticdenser.encoders.precision import dtype_of
from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.retrieval.hybrid import DEFAULT_WEIGHT

ALL_SUBNETS = "all"
"""Value of `subnet` that means every subnet of the encoder."""

NonEmptyNames = Annotated[tuple[str, ...], Meta(min_length=1)]
"""At least one name."""


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """Corpus: `sources` as `open_corpus` takes them, or a finished `index`."""

    title: str = ""
    sources: tuple[str, ...] = ()
    index: str = ""

    def __post_init__(self) -> None:
        if bool(self.sources) == bool(self.index):
            raise ValueError("expected either 'sources' or 'index': give exactly one of them")


@dataclass(frozen=True, kw_only=True)
class QuerySetSettings:
    """Queries with judgements or answers (`source`, `split`) over a corpus, and the measures to compute.

    With `typing_errors` every query gets that many errors of one letter each, the same ones in every evaluation;
    judgements and answers stay the same. Words of fewer than four letters get no errors. With `perturbation` every
    query gets a slip of that kind instead (`elasticdenser.datasets.perturbations`). The report compares such a query
    set with the one without slips that has the same corpus, source and split.
    """

    corpus: str
    source: str
    measures: NonEmptyNames
    split: str = ""
    title: str = ""
    k: Annotated[int, Meta(ge=0)] = 0
    regex: bool = False
    ignore_identical_ids: bool = False
    typing_errors: Annotated[int, Meta(ge=0, le=2)] = 0
    perturbation: str = ""

    def __post_init__(self) -> None:
        if not self.perturbation:
            return
        if self.typing_errors:
            raise ValueError("got both 'typing_errors' and 'perturbation', expected one of them: leave out the other")
        try:
            check_perturbation(self.perturbation)
        except BadInputError as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """Search by vectors; `exact` scans all of them.

    `subnet` is a subnet of the query encoder, several subnets, or `all`; without it the full subnet is used. `encoder`
    is a folder or a model id; without it, systems with a `subnet` use the elastic encoder of this package. `precision`
    is the arithmetic of the query encoder: int8, fp32, bf16, fp16, or auto, as queries are served. `word_weight` is the
    weight of words in a hybrid search; without it only vectors count.
    """

    title: str = ""
    encoder: str = ""
    subnet: str | NonEmptyNames = ""
    exact: bool = False
    precision: str = "auto"
    word_weight: Annotated[float, Meta(ge=0, le=1)] | None = None

    def __post_init__(self) -> None:
        try:
            dtype_of(self.precision)
        except QueryError as error:
            raise ValueError(f"precision: {error}") from None

    @property
    def has_several_subnets(self) -> bool:
        """Whether the table stands for several systems, one for each subnet."""
        return self.subnet == ALL_SUBNETS or isinstance(self.subnet, tuple)


@dataclass(frozen=True, kw_only=True)
class HybridSettings(DenseSettings):
    """Search by vectors and words together, in one index; the settings are those of a dense search."""

    word_weight: Annotated[float, Meta(ge=0, le=1)] | None = DEFAULT_WEIGHT


@dataclass(frozen=True, kw_only=True)
class SubnetSettings(DenseSettings):
    """System for one subnet of a table with several subnets; `family` is the name of that table."""

    family: str


@dataclass(frozen=True, kw_only=True)
class Bm25Settings:
    """Search by words with BM25, through pyserini; `k1` and `b` are by default those of pyserini."""

    title: str = ""
    k1: Annotated[float, Meta(ge=0)] = 0.9
    b: Annotated[float, Meta(ge=0, le=1)] = 0.4


@dataclass(frozen=True, kw_only=True)
class RrfSettings:
    """Reciprocal rank fusion of other systems, with the constant of Cormack, Clarke and Buettcher (SIGIR 2009)."""

    of: NonEmptyNames
    title: str = ""
    constant: Annotated[int, Meta(ge=1)] = 60


@dataclass(frozen=True, kw_only=True)
class WeightedSettings:
    """Weighted sum of the scores of other systems, scaled to the range from 0 to 1 for each query."""

    of: NonEmptyNames
    weights: tuple[float, ...]
    title: str = ""

    def __post_init__(self) -> None:
        if len(self.of) != len(self.weights):
            raise ValueError(f"got {len(self.weights)} weights for {len(self.of)} systems: give each system a weight")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Finished run: a TREC file; `{query_set}` in its path stands for the name of the query set."""

    path: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class RerankSettings:
    """Hits of another system, the best of which an elastic ranker reads again; `stages` are those of a cascade.

    The other system may be of any type. Texts come from the index of vectors if there is a system of type dense, else
    from the corpus, which is copied to a temporary file.
    """

    over: str
    title: str = ""
    ranker: str = ""
    candidates: Annotated[int, Meta(ge=0)] = 0
    subnet: str = ""
    stages: tuple[str, ...] = ()
    first_stage_weight: Annotated[float, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if self.stages and (self.candidates or self.subnet):
            raise ValueError("got both 'stages' and 'candidates' or 'subnet': give the stages alone")

    @property
    def spelling(self) -> str:
        """The stages as the command line spells them."""
        return ",".join(self.stages or (f"{self.candidates or 50}{self.subnet and f':{self.subnet}'}",))


SystemSettings = DenseSettings | Bm25Settings | RrfSettings | WeightedSettings | RerankSettings | RunSettings
SYSTEM_TYPES: dict[str, type[SystemSettings]] = {
    "dense": DenseSettings,
    "hybrid": HybridSettings,
    "bm25": Bm25Settings,
    "rrf": RrfSettings,
    "weighted": WeightedSettings,
    "rerank": RerankSettings,
    "run": RunSettings,
}
"""Settings of a system by the `type` in its table."""


def parts_of(settings: SystemSettings) -> tuple[str, tuple[str, ...]]:
    """Return the key and the names of the systems that one is made of; no names if it needs no others."""
    match settings:
        case RerankSettings():
            return "over", (settings.over,)
        case RrfSettings() | WeightedSettings():
            return "of", settings.of
        case _:
            return "", ()
