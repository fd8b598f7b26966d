"""Reading of suite files; `settings` describes the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from elasticdenser.dataclass_io import check_keys, from_value, read_tables, read_toml
from elasticdenser.errors import BadInputError
from elasticdenser.suites.glue import GlueSuite, glue_suite
from elasticdenser.suites.intents import IntentSuite, intent_suite
from elasticdenser.suites.settings import (
    SYSTEM_TYPES,
    CorpusSettings,
    DenseSettings,
    QuerySetSettings,
    SystemSettings,
    parts_of,
)
from elasticdenser.suites.subnets import find_system, with_normalised_subnets
from elasticdenser.suites.suite import Suite, check_known


@dataclass(frozen=True, kw_only=True)
class _General:
    """Keys of a suite file outside its tables."""

    title: str = "Evaluation"
    baseline: str = ""
    k: Annotated[int, Meta(ge=1)] = 1000


_GENERAL_KEYS = ("title", "baseline", "k")
_KEYS = (*_GENERAL_KEYS, "corpora", "query-sets", "systems", "register")


def read_suite(path: str | Path) -> Suite:
    """Read a suite file.

    Raises:
        BadInputError: The file is missing or not TOML, or its content is not a valid suite.
    """
    return read_toml(path, "suite", _suite)


def read_any_suite(path: str | Path) -> Suite | GlueSuite | IntentSuite:
    """Read a suite file of retrieval, or of another `kind`: `glue` or `intent`.

    Raises:
        BadInputError: The file is missing or not TOML, or its content is not a valid suite.
    """
    return read_toml(path, "suite", _any_suite)


def _any_suite(value: dict[str, Any]) -> Suite | GlueSuite | IntentSuite:
    kinds: dict[str, Callable[[dict[str, Any]], Suite | GlueSuite | IntentSuite]] = {
        "retrieval": _suite,
        "glue": glue_suite,
        "intent": intent_suite,
    }
    kind = value.get("kind", "retrieval")
    if not isinstance(kind, str) or kind not in kinds:
        raise BadInputError(f"got kind = {kind!r}, expected 'glue' or 'intent', or no kind for a suite of retrieval")
    return kinds[kind]({key: item for key, item in value.items() if key != "kind"})


def _suite(value: dict[str, Any]) -> Suite:
    check_keys(value, _KEYS, "suite")
    tables = {key: read_tables(value, key) for key in ("corpora", "query-sets", "systems")}
    general = from_value(_General, {key: value[key] for key in _GENERAL_KEYS if key in value}, "suite")
    corpora = from_value(dict[str, CorpusSettings], tables["corpora"], "corpora")
    query_sets = from_value(dict[str, QuerySetSettings], tables["query-sets"], "query-sets")
    systems = {name: _system(table, f"systems.{name}") for name, table in tables["systems"].items()}
    baseline = general.baseline or next(iter(systems))
    find_system("baseline", baseline, systems)
    for name, settings in query_sets.items():
        check_known(f"query-sets.{name}.corpus", settings.corpus, corpora)
    return Suite(
        title=general.title,
        baseline=baseline,
        k=general.k,
        corpora=corpora,
        query_sets=query_sets,
        systems=_parts_first(systems),
        register=from_value(dict[str, str], value.get("register", {}), "register"),
    )


def _system(table: dict[str, Any], where: str) -> SystemSettings:
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in SYSTEM_TYPES:
        raise BadInputError(f"{where}: got type = {kind!r}, expected one of {', '.join(SYSTEM_TYPES)}")
    settings = from_value(SYSTEM_TYPES[kind], {key: value for key, value in table.items() if key != "type"}, where)
    return with_normalised_subnets(settings, where) if isinstance(settings, DenseSettings) else settings


def _parts_first(systems: dict[str, SystemSettings]) -> dict[str, SystemSettings]:
    """Return the systems, each after those that it fuses or reranks.

    Raises:
        BadInputError: A system fuses or reranks an unknown system, or itself.
    """
    ordered: dict[str, SystemSettings] = {}

    def add(name: str, fused_by: tuple[str, ...]) -> None:
        key, parts = parts_of(systems[name])
        if name in fused_by:
            verb = "reranks" if key == "over" else "fuses"
            cycle = " of ".join([*fused_by, name])
            raise BadInputError(f"systems.{name} {verb} itself ({cycle}): remove it from {key!r}")
        for part in parts:
            add(find_system(f"systems.{name}.{key}", part, systems)[0], (*fused_by, name))
        ordered.setdefault(name, systems[name])

    for name in systems:
        add(name, ())
    return ordered
