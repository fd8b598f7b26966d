"""Code that a model brings in its own files, which transformers executes only if it is allowed to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import read_config, transformer_folder


def check_remote_code(folder: Path, name: str, *, allowed: bool) -> None:
    """Check that an encoder needs no code of its own, unless that is allowed.

    Such code can do all that the user can do. A model may name an architecture that transformers knows and yet compute
    something else by its own code; it is therefore not loaded without.

    Raises:
        ModelError: It needs such code.
    """
    if allowed or not _auto_map(folder):
        return
    raise ModelError(
        f"{name} is a model of type {read_config(folder).get('model_type')!r} that brings its own code (auto_map in "
        "its config.json), which is executed only if you allow it: read that code, then use --trust-remote-code "
        "(trust_remote_code=True in Python); or choose a model that transformers computes itself"
    )


def has_its_code(folder: Path) -> bool:
    """Return whether the files of code that an encoder's config names are in its folder, or in another repository."""
    names = [name for value in _auto_map(folder).values() for name in (value if isinstance(value, list) else [value])]
    local = [name.split(".")[0] for name in names if isinstance(name, str) and "--" not in name]
    return all((transformer_folder(folder) / f"{module}.py").is_file() for module in local)


def _auto_map(folder: Path) -> dict[str, Any]:
    value = read_config(folder).get("auto_map")
    return value if isinstance(value, dict) else {}
