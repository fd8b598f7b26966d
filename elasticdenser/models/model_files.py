"""Files in the folder of a sentence encoder: where its modules are, and the values in its JSON files.

The folder has the layout of sentence-transformers (`modules.json`); or it is a plain transformer of Hugging Face, or a
table of model2vec, whose `config.json` stands alone.

Every value of another tool's file is checked where it is read: a folder may be damaged, or made by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError

T = TypeVar("T")

FETCH_MODEL = "fetch the model again"
"""Way out of a damaged file of a model."""

TRANSFORMER, POOLING, STATIC, NORMALIZE = "Transformer", "Pooling", "StaticEmbedding", "Normalize"
"""Types of modules: a transformer and what makes one vector of those of its tokens; or a table of token vectors."""

PQRNN = "PQRNN"
"""Type of the only module of a pQRNN, whose folder has a manifest instead of `modules.json`."""

PQRNN_MANIFEST = "pqrnn.json"
"""That manifest; see `pqrnn_manifest`."""

WITHOUT_CONFIG = (STATIC, PQRNN)
"""Types of modules that need no `config.json`."""

HEAD_TYPES = ("Dense", "LayerNorm", "Dropout", NORMALIZE)
"""Types of the modules that may follow, in any order and number: they change the vector of a text."""

_BESIDE_MODULES = ("config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling", "elastic.json")
"""Files and a folder that only encoders have which also have a `modules.json`."""

MIN_LENGTH = 3
"""Least maximum length in tokens: two special tokens and one of the text."""

_START_AFTER_PADDING = (
    *("roberta", "xlm-roberta", "camembert", "mpnet", "longformer"),
    *("xlm-roberta-xl", "xmod", "roberta-prelayernorm", "data2vec-text"),
)
"""Types of models whose first position follows the padding index."""

Position = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
PositiveNumber = Annotated[float, msgspec.Meta(gt=0, le=1e100)]


class Module(NamedTuple):
    """Module of a sentence encoder.

    Attributes:
        kind: Its type, such as `Pooling`.
        folder: Folder of its files.
    """

    kind: str
    folder: Path


def transformer_folder(folder: Path) -> Path:
    """Return the folder of a sentence encoder's transformer, or table of token vectors, which has its tokenizer too.

    Raises:
        ModelError: `folder` holds no supported sentence encoder.
    """
    return read_modules(folder)[0].folder


def read_modules(folder: Path) -> list[Module]:
    """Return the modules of a sentence encoder in order.

    They are `Transformer`, `Pooling` and any of `HEAD_TYPES`; or `StaticEmbedding` and, if any, `Normalize`. A plain
    transformer, and a table of model2vec, have the first one alone; so has a pQRNN.

    Raises:
        ModelError: `folder` holds no sentence encoder, one of other modules, or one with a module outside of it.
    """
    if (folder / PQRNN_MANIFEST).is_file():
        return [Module(PQRNN, folder)]
    path = folder / "modules.json"
    if not path.exists() and (folder / "config.json").exists() and not _lacks_modules(folder):
        is_static = read_object(folder / "config.json").get("model_type") == "model2vec"
        return [Module(STATIC if is_static else TRANSFORMER, folder)]
    modules = read_json(path)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelError(f"{path}: expected a list of modules with type and path: {FETCH_MODEL}")
    kinds = [value_of(module, "type", str, path) for module in modules]
    names = [kind.rsplit(".", 1)[-1] if kind.startswith("sentence_transformers.") else kind for kind in kinds]
    is_transformer = names[:2] == [TRANSFORMER, POOLING] and set(names[2:]) <= set(HEAD_TYPES)
    if not is_transformer and (names[:1] != [STATIC] or not set(names[1:]) <= {NORMALIZE}):
        raise ModelError(
            f"{path}: got the modules {', '.join(names) or '(none)'}, expected {TRANSFORMER}, {POOLING} and any of "
            f"{', '.join(HEAD_TYPES)}, or {STATIC} and, if any, {NORMALIZE}: choose a model made of these"
        )
    return [Module(name, folder / _inner_path(module, path)) for name, module in zip(names, modules, strict=True)]


def has_modules(folder: Path) -> bool:
    """Return whether a folder has the layout of sentence-transformers, which says how texts become vectors."""
    return (folder / "modules.json").exists()


def _lacks_modules(folder: Path) -> bool:
    """Return whether a folder has lost its `modules.json`: it has files that are only beside one."""
    return any((folder / name).exists() for name in _BESIDE_MODULES)


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
    """Return the content of the transformer's `config.json` of a sentence encoder; empty for a table that has none.

    Raises:
        ModelError: The file is missing or damaged.
    """
    first = read_modules(folder)[0]
    return read_object(first.folder / "config.json", optional=first.kind in WITHOUT_CONFIG)


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
    """Return the row of the position table for the first token; those of RoBERTa and its like follow the padding index.

    Raises:
        ModelError: The padding index is not a whole number from 0.
    """
    if config.get("model_type") not in _START_AFTER_PADDING:
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
