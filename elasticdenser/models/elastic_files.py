"""Elastic encoder on disk: the folder of its full encoder, with two files of our own.

    config.json, modules.json, tokenizer.json, ...   the full encoder's, unchanged
    model.safetensors                                its weights, float16
    elastic.json                                     manifest: format, shape and provenance of the trained subnets
    elastic.safetensors                              the trained weights

Any reader of sentence encoders can therefore read the folder as its full encoder. A student, which answers in the
vector space of another model, has no `model.safetensors`: the vectors of its own full encoder would lie elsewhere.
Trained weights are float16, except those of layers and level 0: these are stored in 8 bits with a scale a row, which
costs no measurable quality and keeps the folder small enough to ship. A folder is written under a temporary name and
then renamed: it is complete or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.bert import Weights, read_model
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.folders import check_replaceable, replacing_folder
from elasticdenser.models.locate import TRAINED_WEIGHTS
from elasticdenser.models.manifest import (
    MANIFEST,
    SPACE,
    Manifest,
    check_provenance,
    is_elastic,
    is_student,
    read_manifest,
)
from elasticdenser.models.model_files import read_modules, transformer_folder
from elasticdenser.models.settings import EncoderSettings, read_settings, write_settings
from elasticdenser.models.stored_tensors import check_tensors, halved, is_layer_matrix, read_tensors, stored_form

_SETTINGS = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Files of a sentence encoder that are copied beside its weights."""

_TOKENS = "embeddings.word_embeddings.weight"


class ElasticFiles(NamedTuple):
    """Trained part of an elastic encoder.

    Args:
        model: The trained subnets, and level 0 if there is one, in float32, ready for inference.
        provenance: As in `Manifest`.
    """

    model: ElasticBert
    provenance: dict[str, Any]


def save_elastic(
    folder: Path,
    *,
    base: Path,
    model: ElasticBert,
    provenance: Mapping[str, Any],
    settings: EncoderSettings | None = None,
) -> None:
    """Write an elastic encoder, for passages and for queries at every subnet.

    Args:
        folder: The folder to write; an elastic encoder there is replaced, with everything in its folder.
        base: Folder of the full encoder that the model was made of; its files are copied.
        model: The trained model, on any device.
        provenance: The full encoder, under `PROVENANCE_KEYS`, and any other values of JSON; of a student the
            teacher, and its fingerprint under `SPACE`.
        settings: Prompts and maximum length that it was trained with; None is those in `base`.

    Raises:
        ModelError: The model was made of another encoder, or weights are too large for float16.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    folder = folder.resolve()
    check_provenance(provenance, "provenance")
    check_elastic_replaceable(folder)
    full: dict[str, Tensor] = {} if SPACE in provenance else read_model(base)[1]
    trained = _trained_tensors(model, Weights(full) if full else None)
    manifest = Manifest(shape=model.shape, provenance=dict(provenance)).to_json()
    with replacing_folder(folder, check_elastic_replaceable) as work:
        _copy_settings(base, work)
        if settings is not None and settings != read_settings(base):
            write_settings(work, settings)
        # Bytes instead of save_file, which hides from its error that the disk is full.
        if full:
            rounded = {name: halved(name, tensor) for name, tensor in full.items()}
            inner = transformer_folder(base).relative_to(base)
            (work / inner / "model.safetensors").write_bytes(save(rounded, metadata={"format": "pt"}))
        (work / TRAINED_WEIGHTS).write_bytes(save(trained, metadata={"format": "pt"}))
        (work / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_elastic(folder: Path) -> ElasticFiles:
    """Read the trained part of an elastic encoder; `Bert.load` reads the full encoder in the same folder.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    manifest = read_manifest(folder)
    trained = read_tensors(folder / TRAINED_WEIGHTS)
    if "tokens" not in trained and not is_student(folder):
        _, full = read_model(folder)
        trained["tokens"] = Weights(full).get(_TOKENS).float()
    with torch.device("meta"):  # allocates nothing for weights that are read anyway
        model = ElasticBert(manifest.shape)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    check_tensors(folder / TRAINED_WEIGHTS, MANIFEST, expected, trained)
    model.load_state_dict(trained, assign=True)
    return ElasticFiles(model.eval(), manifest.provenance)


def check_elastic_replaceable(folder: Path) -> None:
    """Check that an elastic encoder may be written to `folder`: it is absent, empty, or holds an elastic encoder.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, is_elastic, "an elastic encoder")


def _trained_tensors(model: ElasticBert, full: Weights | None) -> dict[str, Tensor]:
    """Return the tensors to store: matrices in 8 bits, all others in float16, without tokens equal to the encoder's."""
    tokens = None if full is None else full.get(_TOKENS).float()
    if tokens is not None and model.tokens.shape != tokens.shape:
        raise ModelError(
            f"got a model of {tuple(model.tokens.shape)} token vectors for an encoder of {tuple(tokens.shape)}, "
            "expected the encoder that the model was made of"
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name != "tokens":
            tensors |= stored_form(name, tensor, int8=name == "table" or is_layer_matrix(name))
        elif tokens is None or not torch.equal(
            tensor.cpu().half(), tokens.half()
        ):  # else they are those of the full encoder
            tensors |= stored_form(name, tensor, int8=True)
    return tensors


def _copy_settings(base: Path, work: Path) -> None:
    """Copy a sentence encoder's settings and tokenizer."""
    for inner in {base, *(module.folder for module in read_modules(base))}:
        to = work / inner.relative_to(base)
        to.mkdir(parents=True, exist_ok=True)
        for name in _SETTINGS:
            if (inner / name).is_file():
                shutil.copyfile(inner / name, to / name)
