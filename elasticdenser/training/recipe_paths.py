"""Check that all files and folders that a recipe names are there, before any work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError, DataMissingError

_TABLES = ("texts", "query_sets", "dev_sets", "dev_lists")
_ONLY_PATHS = ("index", "run", "teacher_vectors")
"""Settings that cannot be ids of ir_datasets."""

_SCHEME = re.compile(r"[a-z]{2,}:")
"""Beginning of a source that is no plain path, such as `sqlite:PATH`: its reader knows what it needs."""


def check_paths(recipe: object, data: Path) -> None:
    """Check the sources of texts, queries and passages, indexes and runs; encoders are looked for elsewhere.

    Args:
        recipe: A recipe of any kind.
        data: Folder that its paths are relative to.

    Raises:
        BadInputError: Some are missing; the message lists all of them.
    """
    faults = ((setting, _fault_of(setting, path, data)) for setting, path in _paths_of(recipe))
    missing = [f"{setting}: {fault}" for setting, fault in faults if fault]
    if missing:
        raise BadInputError(
            f"the recipe names sources that are missing: {'; '.join(missing)}; check them, and the folder they are "
            f"relative to, {data.resolve()} (--data)"
        )


def _paths_of(recipe: object) -> Iterator[tuple[str, str]]:
    """Yield the settings that hold paths, such as `texts[0].path`, and the paths."""
    yield from _own_paths(recipe, "")
    for table in ("token_weights", "calibration"):
        yield from _own_paths(getattr(recipe, table, None), f"{table}.")
    for table in _TABLES:
        for number, settings in enumerate(getattr(recipe, table, ())):
            yield from _own_paths(settings, f"{table}[{number}].")


def _own_paths(settings: object, prefix: str) -> Iterator[tuple[str, str]]:
    for name in ("path", *_ONLY_PATHS):
        if path := getattr(settings, name, ""):
            yield f"{prefix}{name}", path
    for number, path in enumerate(getattr(settings, "passages", ())):
        yield f"{prefix}passages[{number}]", path


def _fault_of(setting: str, path: str, data: Path) -> str:
    """Return what is wrong with a path; empty if it is there."""
    if not path:
        return f"{path!r} is no path"
    if (data / path).exists() or _SCHEME.match(path):
        return ""
    if setting.endswith(_ONLY_PATHS) or not is_dataset_id(path):
        return f"{path!r} does not exist"
    try:
        load_irds(path)
    except DataMissingError as error:
        return str(error)
    return ""
