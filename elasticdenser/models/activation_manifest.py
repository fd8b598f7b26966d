"""Manifest of a cache of activations: what computes the states, and how they are stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from elasticdenser.artifacts import write_json
from elasticdenser.errors import BadInputError

MANIFEST = "cache.json"


@dataclass(frozen=True, kw_only=True)
class ActivationSource:
    """Model and layer that the states come from.

    Args:
        key: Hash of all that they depend on beside the token ids: the weights up to the layer, and the arithmetic.
        layer: Number of layers that are behind them.
        hidden: Numbers of a token's state.
    """

    key: str
    layer: int
    hidden: int


def write_manifest(folder: Path, source: ActivationSource, dtype: str) -> None:
    """Write the manifest of a cache, unless it has one.

    Raises:
        BadInputError: It has that of another source or dtype: another process may have begun to use the folder.
        BuildError: The disk refuses.
    """
    if (folder / MANIFEST).exists():
        check_manifest(folder, source, dtype)
    else:
        write_json(folder / MANIFEST, _manifest_of(source, dtype))


def check_manifest(folder: Path, source: ActivationSource, dtype: str) -> None:
    """Check that a folder holds states of a source, stored in a dtype, or nothing.

    Raises:
        BadInputError: It holds others, or other files, or is no folder.
    """
    path = folder / MANIFEST
    for above in (folder, *folder.parents):
        if above.exists() and not above.is_dir():
            message = "this is a file, expected a folder for a cache of activations: remove it, or name another"
            raise BadInputError(message, above)
    if not path.exists():
        if any(folder.glob("[!.]*")):
            raise BadInputError(
                f"there are other files and no {MANIFEST}: remove this folder, or choose an empty one", folder
            )
        return
    try:
        stored = json.loads(path.read_text("utf-8"))
        if not isinstance(stored, dict):
            raise ValueError("it is no JSON object")
        differences = [name for name, value in _manifest_of(source, dtype).items() if stored.get(name) != value]
    except (OSError, ValueError) as error:
        message = f"this cache of activations cannot be read ({error}): remove its folder, or choose another one"
        raise BadInputError(message, path) from None
    if differences:
        raise BadInputError(
            f"this cache holds activations with another {' and '.join(differences)}: choose another folder, or remove "
            "this one",
            folder,
        )


def _manifest_of(source: ActivationSource, dtype: str) -> dict[str, object]:
    return {"format": 1, **asdict(source), "dtype": dtype}
