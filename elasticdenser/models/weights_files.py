"""Weights of a full encoder on disk: which files hold them, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import FETCH_MODEL, Module, read_modules, read_object, transformer_folder

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Lists of the files of weights that are divided, as those of models of several gigabytes are."""

_WITHOUT_WEIGHTS = ("Pooling", "Dropout", "Normalize")


def weights_file(folder: Path) -> Path:
    """Return the weights file of the encoder in `folder`.

    Raises:
        ModelError: There is none, or the weights are divided among several.
    """
    inner = transformer_folder(folder)
    file = _single_file(inner)
    if file is None:
        raise ModelError(
            f"{inner} holds no model.safetensors or pytorch_model.bin: give the folder of a sentence-transformers "
            "model with its weights in one file"
        )
    return file


def weights_files(folder: Path) -> list[Path]:
    """Return the files of the transformer's weights, or of the table of token vectors; several if they are divided.

    Raises:
        ModelError: There are none, or the list of files is damaged or names one that is missing.
    """
    inner = transformer_folder(folder)
    if _single_file(inner) is None:
        for name in _SHARDS:
            if (inner / name).is_file():
                return _shards(inner / name)
    return [weights_file(folder)]


def is_divided(folder: Path) -> bool:
    """Return whether the weights of the transformer are divided among several files."""
    inner = transformer_folder(folder)
    return _single_file(inner) is None and any((inner / name).is_file() for name in _SHARDS)


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of the encoder's weights.

    It is that of the weights file, unless there are more files on which the vectors depend: then it is the SHA-256 over
    the digests of all.

    Raises:
        ModelError: Files are missing or damaged.
    """
    digests = [sha256_of(file) for file in _all_files(folder)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def check_weights(folder: Path) -> None:
    """Check that all files of the encoder's weights are there.

    Raises:
        ModelError: One is missing.
    """
    list(_all_files(folder))


def head_weights(module: Module) -> Path:
    """Return the weights file of a module behind the pooling.

    Raises:
        ModelError: There is none.
    """
    file = _single_file(module.folder)
    if file is None:
        raise ModelError(f"{module.folder} holds no {' or '.join(_WEIGHTS)}, expected that of a {module.kind} module")
    return file


def _all_files(folder: Path) -> Iterator[Path]:
    """Yield the files on which the vectors depend, beside settings and tokenizer."""
    yield from weights_files(folder)
    for module in read_modules(folder)[1:]:
        if module.kind not in _WITHOUT_WEIGHTS:
            yield from (head_weights(module), module.folder / "config.json")


def _single_file(folder: Path) -> Path | None:
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def _shards(path: Path) -> list[Path]:
    weight_map = read_object(path).get("weight_map")
    names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    files = [path.parent / name for name in names]
    if not files or any("/" in name or not file.is_file() for name, file in zip(names, files, strict=True)):
        raise ModelError(f"{path}: got the files {', '.join(names) or '(none)'}, and not all are there: {FETCH_MODEL}")
    return files
