"""What a suite file says, table by table.

    title = "..."   baseline = "auto"   k = 1000

    [corpora.NAME]
    title, sources = [...] or index = "..."

    [query-sets.NAME]
    title, corpus, source, split, measures = [...], k, regex, ignore_identical_ids
    typing_errors = 2               # every query with as many slips of the keyboard; judged as without them

    [systems.NAME]
    type = "dense"                  # or "bm25", "rrf", "weighted", "run", each with its settings
    subnet = "w0.5-d3"              # one size of the query encoder; without it, its full size
    subnet = ["w1-d6", "level0"]    # several: one system each, called NAME.w1-d6 and NAME.level0
    subnet = "all"                  # every size the encoder has

    [register]
    "id/of/ir_datasets" = "nq-test.qa.csv"

A system of several sizes is meant as a whole by `--system NAME`, and one size of it by `--system NAME.level0`. Where
one system is wanted, as the baseline or in a fusion (`of`), NAME is its largest size.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = "all"
"""In the place of a size: every one that the encoder has."""

MOST_TYPING_ERRORS = 2


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """A corpus: `sources` as `open_corpus` takes them, or a finished `index`."""

    title: str = ""
    sources: tuple[str, ...] = ()
    index: str = ""


@dataclass(frozen=True, kw_only=True)
class QuerySetSettings:
    """Queries with judgements or answers (`source`, `split`) over a corpus, and the measures to compute.

    With `typing_errors` (1 or 2) every query gets as many errors of one letter each, the same ones everywhere; what
    counts as a good hit stays. Words of fewer than four letters have none. The report compares such a set with the
    one of the same corpus, source and split that has none.
    """

    corpus: str
    source: str
    measures: tuple[str, ...]
    split: str = ""
    title: str = ""
    k: int = 0
    regex: bool = False
    ignore_identical_ids: bool = False
    typing_errors: int = 0


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """Search by vectors; `exact` scans all of them.

    `subnet` is a size of the query encoder, several sizes, or `all`; without it the full size is meant. `encoder` is
    a folder or a model id; without it, where a size is named, the elastic encoder of this package.
    """

    title: str = ""
    encoder: str = ""
    subnet: str | tuple[str, ...] = ""
    exact: bool = False

    @property
    def has_sizes(self) -> bool:
        """Whether it stands for several systems, one for each size."""
        return self.subnet == ALL or isinstance(self.subnet, tuple)


@dataclass(frozen=True, kw_only=True)
class SizeSettings(DenseSettings):
    """One size of a dense system that has several; `size_of` is that system's name."""

    size_of: str


@dataclass(frozen=True, kw_only=True)
class Bm25Settings:
    """Search by words with BM25, through pyserini."""

    title: str = ""
    k1: float = 0.9
    b: float = 0.4


@dataclass(frozen=True, kw_only=True)
class RrfSettings:
    """Reciprocal rank fusion of other systems."""

    of: tuple[str, ...]
    title: str = ""
    constant: int = 60


@dataclass(frozen=True, kw_only=True)
class WeightedSettings:
    """Weighted sum of the scores of other systems, each query's brought to 0 to 1 first."""

    of: tuple[str, ...]
    weights: tuple[float, ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A finished run: a TREC file, `{query_set}` in its name standing for the query set's."""

    path: str
    title: str = ""


SystemSettings = DenseSettings | Bm25Settings | RrfSettings | WeightedSettings | RunSettings
SYSTEM_TYPES: dict[str, type[SystemSettings]] = {
    "dense": DenseSettings,
    "bm25": Bm25Settings,
    "rrf": RrfSettings,
    "weighted": WeightedSettings,
    "run": RunSettings,
}
