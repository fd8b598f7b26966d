"""Files in the folder of a sentence encoder: where its modules are, and the values in its JSON files.

Every value of another tool's file is checked where it is read: a folder may be damaged, or made by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypeVar

import msgspec

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError

T = TypeVar("T")

FETCH_MODEL = "fetch the model again"
"""Way out of a damaged file of a model."""

MODULE_TYPES = ("Transformer", "Pooling", "Normalize")
"""Types of the modules of supported sentence encoders, in order; the last may be missing."""

MIN_LENGTH = 3
"""Least maximum length in tokens: two special tokens and one of the text."""

Position = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
PositiveNumber = Annotated[float, msgspec.Meta(gt=0, le=1e100)]


def transformer_folder(folder: Path) -> Path:
    """Return the folder of the transformer of a sentence encoder; older encoders have it in a folder inside.

    Raises:
        ModelError: `folder` holds no supported sentence encoder.
    """
    return module_folders(folder)["Transformer"]


def module_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each module of a sentence encoder, by its type: `Transformer`, `Pooling`, maybe `Normalize`.

    Raises:
        ModelError: `folder` holds no sentence encoder, one of other modules, or one with a module outside of it.
    """
    path = folder / "modules.json"
    modules = read_json(path)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelError(f"{path}: expected a list of modules with type and path: {FETCH_MODEL}")
    kinds = [value_of(module, "type", str, path) for module in modules]
    names = [kind.rsplit(".", 1)[-1] if kind.startswith("sentence_transformers.") else kind for kind in kinds]
    if tuple(names) not in (MODULE_TYPES, MODULE_TYPES[:-1]):
        raise ModelError(
            f"{path}: got the modules {', '.join(names) or '(none)'}, expected Transformer, Pooling and, if any, "
            "Normalize: choose a model made of these"
        )
    return {name: folder / _inner_path(module, path) for name, module in zip(names, modules, strict=True)}


def read_json(path: Path) -> Any:
    """Read a JSON file of a model.

    Raises:
        ModelError: The file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: give the folder of an encoder in the layout of sentence-transformers"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): check its owner and mode") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}): {FETCH_MODEL}") from None


def read_object(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """Read a JSON file of a model that holds an object.

    Args:
        path: The file.
        optional: Whether a missing file stands for an empty object.

    Raises:
        ModelError: As for `read_json`, or the file holds something else.
    """
    if optional and not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelError(f"{path}: got a {type(value).__name__}, expected a JSON object: {FETCH_MODEL}")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of the transformer's `config.json` of a sentence encoder.

    Raises:
        ModelError: The file is missing or damaged.
    """
    return read_object(transformer_folder(folder) / "config.json")


def value_of(values: Mapping[str, Any], key: str, kind: type[T], path: Path | str, default: Any = msgspec.UNSET) -> T:
    """Return the value of a key as a type that `from_value` takes.

    Args:
        values: Content of the file.
        key: The key.
        kind: Expected type, such as `Count`.
        path: The file, for the message.
        default: Value if the key is missing or null; without one, it is required.

    Raises:
        ModelError: The value is missing, of another type or out of range.
    """
    value = values.get(key)
    if value is None:
        if default is msgspec.UNSET:
            raise ModelError(f"{path} has no {key}: {FETCH_MODEL}")
        return default  # type: ignore[no-any-return]
    try:
        return from_value(kind, value, f"{path}: {key}", ModelError)
    except ModelError as error:
        raise ModelError(f"{error}: {FETCH_MODEL}, or repair the file") from None


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table for the first token; RoBERTa's positions start after the padding index.

    Raises:
        ModelError: The padding index is not a whole number from 0.
    """
    if config.get("model_type") not in ("roberta", "xlm-roberta", "camembert"):
        return 0
    return value_of(config, "pad_token_id", Position, "the model's config.json", 1) + 1


def _inner_path(module: Mapping[str, Any], path: Path) -> str:
    """Return the path of a module inside the folder of its encoder."""
    inner = value_of(module, "path", str, path)
    parts = {*PurePosixPath(inner).parts, *PureWindowsPath(inner).parts}
    outside = ".." in parts or PurePosixPath(inner).is_absolute() or PureWindowsPath(inner).anchor
    if outside or "\0" in inner:
        raise ModelError(f"{path}: got the path {inner!r}, expected one inside the model's folder: {FETCH_MODEL}")
    return inner
