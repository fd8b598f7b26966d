"""Model of intents and slots on disk, a folder of its own.

intent.json             manifest: format, body, intents, tags, and provenance
intent.safetensors      all weights: matrices in 8 bits with a scale a row, others in float16
tokenizer.json, ...     the tokenizer of the encoder, unless words are hashed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from safetensors.torch import save

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ElasticDenserError, ModelError
from elasticdenser.models.folders import check_replaceable
from elasticdenser.models.intent_model import IntentModel, IntentShape
from elasticdenser.models.manifest import FETCH_AGAIN, PROVENANCE, check_provenance, read_versioned
from elasticdenser.models.pair_files import manifest_text, write_pair_model
from elasticdenser.models.stored_tensors import check_tensors, read_tensors, stored_form

INTENT_MANIFEST = "intent.json"
INTENT_WEIGHTS = "intent.safetensors"
INTENT_FORMAT = 1

_Names = Annotated[tuple[str, ...], Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class IntentSettings:
    """Settings of a model.

    Args:
        task: Name of its task, such as `mtop`.
        intents: Names of the intents, in the order of the outputs.
        tags: Names of the tags of words, likewise.
        max_length: Maximum number of tokens of a text, special tokens included; of hashed words, of words.
    """

    task: str
    intents: _Names
    tags: _Names
    max_length: Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class IntentManifest:
    """Content of `intent.json`; `provenance` is `made_by` in the file."""

    shape: IntentShape
    settings: IntentSettings
    provenance: dict[str, Any]


def is_intent_model(folder: Path) -> bool:
    """Return whether `folder` holds a model of intents and slots."""
    return (folder / INTENT_MANIFEST).is_file()


def save_intent_model(
    folder: Path, *, base: Path | None, model: IntentModel, settings: IntentSettings, provenance: Mapping[str, Any]
) -> None:
    """Write a model.

    Args:
        folder: The folder to write; such a model there is replaced, with everything in its folder.
        base: Folder of the encoder whose tokenizer is copied; None where words are hashed.
        model: The trained model, on any device.
        settings: Its settings.
        provenance: The encoder, under `PROVENANCE_KEYS`, and any other values of JSON.

    Raises:
        ModelError: Weights are not finite, or too large for float16.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    folder = folder.resolve()
    check_provenance(provenance, "provenance")
    check_intent_replaceable(folder)
    content = {
        "format": INTENT_FORMAT,
        "body": model.shape.to_json(),
        "settings": {name: getattr(settings, name) for name in ("task", "max_length", "intents", "tags")},
        PROVENANCE: dict(provenance),
    }
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensors |= stored_form(name, tensor, int8=tensor.dim() > 1)
    files = {INTENT_WEIGHTS: save(tensors, metadata={"format": "pt"}), INTENT_MANIFEST: manifest_text(content)}
    write_pair_model(folder, base, files, check_intent_replaceable)


def read_intent_manifest(folder: Path) -> IntentManifest:
    """Read the manifest in `folder`.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    path = folder / INTENT_MANIFEST
    values = read_versioned(path, INTENT_FORMAT, 'a model that a recipe with trains = "intent" makes')
    settings = from_value(IntentSettings, values.get("settings"), f"{path}: settings", ModelError)
    try:
        shape = from_value(IntentShape, values.get("body"), f"{path}: body", ModelError)
    except ElasticDenserError as error:
        where = "" if isinstance(error, ModelError) else f"{path}: body: "
        raise ModelError(f"{where}{error}; {FETCH_AGAIN}") from error
    return IntentManifest(shape=shape, settings=settings, provenance=values[PROVENANCE])


def load_intent_model(folder: Path) -> tuple[IntentModel, IntentManifest]:
    """Read a model, its weights in float32.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    manifest = read_intent_manifest(folder)
    tensors = read_tensors(folder / INTENT_WEIGHTS)
    model = IntentModel(manifest.shape, len(manifest.settings.intents), len(manifest.settings.tags))
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    check_tensors(folder / INTENT_WEIGHTS, INTENT_MANIFEST, expected, tensors)
    model.load_state_dict(tensors)
    return model.eval(), manifest


def check_intent_replaceable(folder: Path) -> None:
    """Check that a model may be written to `folder`: it is absent, empty, or holds one.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, is_intent_model, "a model of intents")
