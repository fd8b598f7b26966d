"""What a recipe says, read and checked: all that makes an elastic encoder, in one TOML file.

title = "..."       seed = 1            encoder = "ID or folder"        target_dtype = "auto"
index = "..." or passages = [...]       n_neighbours = 8                query_prompt, passage_prompt, max_length
widths = [...]      depths = [...]      snapshot_every = 500            candidates = 4
[[texts]]           path, kind, limit: see `TextSource`
[start]             see `StartSettings`
[distil]            see `DistilSettings`
[table]             see `TableRecipe`; absent is no level 0
[[choose]]          see `DevSetSettings`; absent is the last snapshot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from elasticdenser.dataclass_io import from_value, read_toml
from elasticdenser.datasets import open_corpus
from elasticdenser.errors import BadInputError
from elasticdenser.subnet import Subnet
from elasticdenser.training.distil import DistilSettings
from elasticdenser.training.settings import Basics, DevSetSettings, Recipe, StartSettings, TableRecipe
from elasticdenser.training.texts import TextSource

DEFAULT_STEPS = 2000
"""Steps where nobody says how many: about an hour for a small encoder on two cores."""

_MOST_SPANS = 100_000


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file.

    Raises:
        BadInputError: It is missing, no TOML, or says something that cannot be.
    """
    return read_toml(path, "recipe", _recipe)


def plain_recipe(queries: Sequence[str], passages: Sequence[str], *, steps: int = DEFAULT_STEPS) -> Recipe:
    """Return a recipe for a user's own queries and passages, of which one is enough.

    Args:
        queries: Files and folders of queries, ids of ir_datasets.
        passages: Corpora, whose titles and spans are trained on beside the queries, and compared with.
        steps: Of distillation.

    Raises:
        BadInputError: There is neither, or a corpus cannot be read.
    """
    texts = [TextSource(path=path, kind="queries") for path in queries]
    for path in passages:
        if any(passage.title for passage in islice(open_corpus([path]), 1000)):
            texts.append(TextSource(path=path, kind="titles", limit=_MOST_SPANS))
        texts.append(TextSource(path=path, kind="spans", limit=_MOST_SPANS))
    distil = _distil({"steps": steps, "warm_up": min(DistilSettings.warm_up, steps // 10)}, 0)
    return Recipe(texts=tuple(texts), passages=tuple(passages), distil=distil, table=TableRecipe())


def _recipe(value: dict[str, Any]) -> Recipe:
    sections = ("texts", "start", "distil", "table", "choose")
    basics = from_value(Basics, {key: its for key, its in value.items() if key not in sections}, "recipe")
    table = {"seed": basics.seed} | _section(value, "table") if "table" in value else None
    return Recipe(
        **asdict(basics),
        texts=tuple(TextSource(**asdict(from_value(_Text, its, "texts"))) for its in _tables(value, "texts")),
        start=from_value(StartSettings, _section(value, "start"), "start"),
        distil=_distil(_section(value, "distil"), basics.seed),
        table=None if table is None else from_value(TableRecipe, table, "table"),
        choose=tuple(from_value(DevSetSettings, its, "choose") for its in _tables(value, "choose")),
    )


@dataclass(frozen=True, kw_only=True)
class _Text:
    """`TextSource` in the types of TOML."""

    path: str
    kind: str
    limit: int = 0


def _distil(given: dict[str, Any], seed: int) -> DistilSettings:
    settings = from_value(DistilSettings, {"seed": seed, **given}, "distil")
    for name in settings.sizes:
        Subnet.parse(name)
    return settings


def _section(value: dict[str, Any], name: str) -> dict[str, Any]:
    section = value.get(name, {})
    if not isinstance(section, dict):
        raise BadInputError(f"{name} is {section!r}: expected a table [{name}]")
    return section


def _tables(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    tables = value.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(its, dict) for its in tables):
        raise BadInputError(f"{name} is {tables!r}: expected tables [[{name}]]")
    return tables
