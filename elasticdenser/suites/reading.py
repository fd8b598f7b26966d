"""A suite, read from its file and checked; what the file may say stands in `settings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elasticdenser.dataclass_io import from_value, read_tables, read_toml
from elasticdenser.errors import BadInputError
from elasticdenser.suites.settings import (
    MOST_TYPING_ERRORS,
    SYSTEM_TYPES,
    CorpusSettings,
    DenseSettings,
    QuerySetSettings,
    SystemSettings,
    WeightedSettings,
)
from elasticdenser.suites.subnets import checked_sizes, find_system, only_needed


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite, checked. Systems stand after those they fuse.

    Attributes:
        title: Of the report.
        baseline: The system that the others are compared with; the largest size of one that has several.
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
        """Return the suite with only some query sets and systems, or sizes of these; none named means all.

        The baseline and the systems that others fuse come along.

        Raises:
            BadInputError: There is no such query set or system.
        """
        for name in query_sets:
            _known("the choice of query sets", name, self.query_sets)
        return replace(
            self,
            query_sets={name: its for name, its in self.query_sets.items() if not query_sets or name in query_sets},
            systems=only_needed(self.baseline, self.systems, systems),
        )

    def at(self, sizes: Sequence[str]) -> Suite:
        """Return the suite with all its systems of type dense at these sizes; none named means as they are.

        Raises:
            BadInputError: A spelling is of no size.
        """
        if not sizes:
            return self
        subnet = sizes[0] if len(sizes) == 1 else tuple(sizes)
        systems = {
            name: checked_sizes(replace(its, subnet=subnet), name) if isinstance(its, DenseSettings) else its
            for name, its in self.systems.items()
        }
        return replace(self, systems=systems)


def read_suite(path: str | Path) -> Suite:
    """Read a suite file.

    Raises:
        BadInputError: It is missing, no TOML, or says something that cannot be.
    """
    return read_toml(path, "suite", _suite)


def _suite(value: dict[str, Any]) -> Suite:
    known = {"title", "baseline", "k", "corpora", "query-sets", "systems", "register"}
    if unknown := set(value) - known:
        raise BadInputError(f"unknown key {min(unknown)!r}: expected {', '.join(sorted(known))}")
    tables = {key: read_tables(value, key) for key in ("corpora", "query-sets", "systems")}
    corpora = {name: from_value(CorpusSettings, its, f"corpora.{name}") for name, its in tables["corpora"].items()}
    query_sets = {
        name: from_value(QuerySetSettings, its, f"query-sets.{name}") for name, its in tables["query-sets"].items()
    }
    systems = {name: _system(its, f"systems.{name}") for name, its in tables["systems"].items()}
    suite = Suite(
        title=from_value(str, value.get("title", "Evaluation"), "title"),
        baseline=from_value(str, value.get("baseline", next(iter(systems))), "baseline"),
        k=from_value(int, value.get("k", 1000), "k"),
        corpora=corpora,
        query_sets=query_sets,
        systems=_in_order(systems),
        register={name: from_value(str, file, f"register.{name}") for name, file in value.get("register", {}).items()},
    )
    _check(suite)
    return suite


def _system(value: dict[str, Any], where: str) -> SystemSettings:
    kind = value.get("type")
    if kind not in SYSTEM_TYPES:
        raise BadInputError(f"{where}: got type = {kind!r}, expected one of {', '.join(SYSTEM_TYPES)}")
    its = from_value(SYSTEM_TYPES[kind], {key: its for key, its in value.items() if key != "type"}, where)
    return checked_sizes(its, where) if isinstance(its, DenseSettings) else its


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
            add(find_system(f"systems.{name}.of", part, systems)[0], (*outer, name))
        ordered.setdefault(name, systems[name])

    for name in systems:
        add(name, ())
    return ordered


def _check(suite: Suite) -> None:
    """Check what the tables say of one another."""
    find_system("baseline", suite.baseline, suite.systems)
    if suite.k < 1:
        raise BadInputError(f"got k = {suite.k}, expected at least 1")
    for name, corpus in suite.corpora.items():
        if bool(corpus.sources) == bool(corpus.index):
            raise BadInputError(f"corpora.{name}: expected either 'sources' or 'index'")
    for name, query_set in suite.query_sets.items():
        _known(f"query-sets.{name}.corpus", query_set.corpus, suite.corpora)
        if not 0 <= query_set.typing_errors <= MOST_TYPING_ERRORS:
            message = f"got {query_set.typing_errors}, expected 0 to {MOST_TYPING_ERRORS}"
            raise BadInputError(f"query-sets.{name}.typing_errors: {message}")
    for name, system in suite.systems.items():
        if isinstance(system, WeightedSettings) and len(system.of) != len(system.weights):
            message = f"{len(system.weights)} weights for {len(system.of)} systems: give one each"
            raise BadInputError(f"systems.{name}: got {message}")


def _known(where: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise BadInputError(f"{where}: got {name!r}, expected one of {', '.join(known)}")
