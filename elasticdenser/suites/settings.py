"""What a suite file says, read and checked.

title = "..."                       baseline = "exact"          k = 1000
[corpora.NAME]                      title, sources = [...] or index = "..."
[query-sets.NAME]                   title, corpus, source, split, measures = [...], k, regex,
                                        ignore_identical_ids
[systems.NAME]                      type = "dense" | "bm25" | "rrf" | "weighted" | "run", and its settings
[register]                          "id/of/ir_datasets" = "nq-test.qa.csv"
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.keeping import check_name

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CorpusSettings:
    """A corpus: `sources` as `open_corpus` takes them, or a finished `index`."""

    title: str = ""
    sources: tuple[str, ...] = ()
    index: str = ""


@dataclass(frozen=True, kw_only=True)
class QuerySetSettings:
    """Queries with judgements or answers (`source`, `split`) over a corpus, and the measures to compute."""

    corpus: str
    source: str
    measures: tuple[str, ...]
    split: str = ""
    title: str = ""
    k: int = 0
    regex: bool = False
    ignore_identical_ids: bool = False


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """Search by vectors, with a query encoder of some size (`subnet`); `exact` scans all of them."""

    title: str = ""
    encoder: str = ""
    subnet: str = ""
    exact: bool = False


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
_TYPES: dict[str, type[SystemSettings]] = {
    "dense": DenseSettings,
    "bm25": Bm25Settings,
    "rrf": RrfSettings,
    "weighted": WeightedSettings,
    "run": RunSettings,
}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite, checked. Systems stand after those they fuse.

    Attributes:
        title: Of the report.
        baseline: The system that the others are compared with.
        k: Hits a query, where a query set does not say otherwise.
        corpora: By name.
        query_sets: By name.
        systems: By name.
        register: ir_datasets id -> file of questions and answers in the format of DPR.
    """

    title: str
    baseline: str
    k: int
    corpora: Mapping[str, CorpusSettings]
    query_sets: Mapping[str, QuerySetSettings]
    systems: Mapping[str, SystemSettings]
    register: Mapping[str, str] = field(default_factory=dict)

    def only(self, *, query_sets: Sequence[str], systems: Sequence[str]) -> Suite:
        """Return the suite with only some query sets and systems; none named means all.

        The baseline and the systems that others fuse come along.

        Raises:
            BadInputError: There is no such query set or system.
        """
        for name in query_sets:
            _known("the choice of query sets", name, self.query_sets)
        for name in systems:
            _known("the choice of systems", name, self.systems)
        needed = self._needed([self.baseline, *(systems or self.systems)])
        return replace(
            self,
            query_sets={name: its for name, its in self.query_sets.items() if not query_sets or name in query_sets},
            systems={name: its for name, its in self.systems.items() if name in needed},
        )

    def _needed(self, systems: Sequence[str]) -> set[str]:
        needed = set(systems)
        for name in reversed(list(self.systems)):
            if name in needed:
                needed |= set(getattr(self.systems[name], "of", ()))
        return needed


def read_suite(path: str | Path) -> Suite:
    """Read a suite file.

    Raises:
        BadInputError: It is missing, no TOML, or says something that cannot be.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"cannot read this suite ({error.strerror}): expected a .toml file", path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"this is no TOML ({error}): repair it", path) from error
    try:
        return _suite(value)
    except BadInputError as error:
        raise BadInputError(str(error), path) from error


def _suite(value: dict[str, Any]) -> Suite:
    known = {"title", "baseline", "k", "corpora", "query-sets", "systems", "register"}
    if unknown := set(value) - known:
        raise BadInputError(f"unknown key {min(unknown)!r}: expected {', '.join(sorted(known))}")
    tables = {key: _table(value, key) for key in ("corpora", "query-sets", "systems")}
    corpora = {name: _read(CorpusSettings, its, f"corpora.{name}") for name, its in tables["corpora"].items()}
    query_sets = {
        name: _read(QuerySetSettings, its, f"query-sets.{name}") for name, its in tables["query-sets"].items()
    }
    systems = {name: _system(its, f"systems.{name}") for name, its in tables["systems"].items()}
    suite = Suite(
        title=_typed(value.get("title", "Evaluation"), str, "title"),
        baseline=_typed(value.get("baseline", next(iter(systems))), str, "baseline"),
        k=_typed(value.get("k", 1000), int, "k"),
        corpora=corpora,
        query_sets=query_sets,
        systems=_in_order(systems),
        register={name: _typed(file, str, f"register.{name}") for name, file in value.get("register", {}).items()},
    )
    _check(suite)
    return suite


def _table(value: dict[str, Any], key: str) -> dict[str, Any]:
    table = value.get(key)
    if not isinstance(table, dict) or not table:
        raise BadInputError(f"there are no {key}: expected at least one table [{key}.NAME]")
    for name, its in table.items():
        check_name(f"table in {key}", name)
        if not isinstance(its, dict):
            raise BadInputError(f"{key}.{name} is {its!r}: expected a table [{key}.{name}]")
    return table


def _system(value: dict[str, Any], where: str) -> SystemSettings:
    kind = value.get("type")
    if kind not in _TYPES:
        raise BadInputError(f"{where}: got type = {kind!r}, expected one of {', '.join(_TYPES)}")
    return _read(_TYPES[kind], {key: its for key, its in value.items() if key != "type"}, where)


def _read(kind: type[T], value: dict[str, Any], where: str) -> T:
    """Make settings of a table, refusing unknown keys, missing ones and wrong types."""
    hints = typing.get_type_hints(kind)
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    if unknown := [key for key in value if key not in known]:
        raise BadInputError(f"{where}: unknown key {unknown[0]!r}, expected some of {', '.join(known)}")
    required = [key for key, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    if missing := [key for key in required if key not in value]:
        raise BadInputError(f"{where}: {missing[0]!r} is missing: add it")
    return kind(**{key: _typed(its, hints[key], f"{where}.{key}") for key, its in value.items()})


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Return a value of TOML as `kind`: bool, int, float, str, or a tuple of these."""
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list) or not value:
            raise BadInputError(f"{where}: got {value!r}, expected a list with at least one item")
        return tuple(_typed(item, kind.__args__[0], where) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise BadInputError(f"{where}: got {value!r}, expected a value of type {kind.__name__}")
    return value


def _in_order(systems: dict[str, SystemSettings]) -> dict[str, SystemSettings]:
    """Put systems after those they fuse.

    Raises:
        BadInputError: One fuses an unknown system, or itself.
    """
    ordered: dict[str, SystemSettings] = {}

    def add(name: str, outer: tuple[str, ...]) -> None:
        if name in outer:
            raise BadInputError(f"systems.{name} fuses itself ({' of '.join([*outer, name])}): take it out of 'of'")
        for part in getattr(systems[name], "of", ()):
            _known(f"systems.{name}.of", part, systems)
            add(part, (*outer, name))
        ordered.setdefault(name, systems[name])

    for name in systems:
        add(name, ())
    return ordered


def _check(suite: Suite) -> None:
    """Check what the tables say of one another."""
    _known("baseline", suite.baseline, suite.systems)
    if suite.k < 1:
        raise BadInputError(f"got k = {suite.k}, expected at least 1")
    for name, corpus in suite.corpora.items():
        if bool(corpus.sources) == bool(corpus.index):
            raise BadInputError(f"corpora.{name}: expected either 'sources' or 'index'")
    for name, query_set in suite.query_sets.items():
        _known(f"query-sets.{name}.corpus", query_set.corpus, suite.corpora)
    for name, system in suite.systems.items():
        if isinstance(system, WeightedSettings) and len(system.of) != len(system.weights):
            message = f"{len(system.weights)} weights for {len(system.of)} systems: give one each"
            raise BadInputError(f"systems.{name}: got {message}")


def _known(where: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise BadInputError(f"{where}: got {name!r}, expected one of {', '.join(known)}")
