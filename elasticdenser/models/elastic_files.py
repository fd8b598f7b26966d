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
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import BuildError, ModelError
from elasticdenser.models.bert import Weights, read_model
from elasticdenser.models.elastic import ElasticBert
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
    check_replaceable(folder)
    full: dict[str, Tensor] = {} if SPACE in provenance else read_model(base)[1]
    trained = _trained_tensors(model, Weights(full) if full else None)
    manifest = Manifest(shape=model.shape, provenance=dict(provenance)).to_json()
    work = beside(folder, "tmp")
    try:
        with explained_os_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
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
            put_in_place(work, folder, check_replaceable)
    finally:
        shutil.rmtree(work, ignore_errors=True)


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


def check_replaceable(folder: Path) -> None:
    """Check that an elastic encoder may be written to `folder`: it is absent, empty, or holds an elastic encoder.

    Raises:
        BuildError: It holds something else.
    """
    if folder.is_dir() and (is_elastic(folder) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise BuildError(
            f"cannot write {folder}: it holds something other than an elastic encoder: choose another folder, or "
            "remove it"
        )


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


def put_in_place(work: Path, folder: Path, check: Callable[[Path], None]) -> None:
    """Rename a complete folder to its final name; the former one is removed only after that.

    Args:
        work: The complete folder, as `beside` names it.
        folder: The final name.
        check: Raises a BuildError unless that folder may be replaced.
    """
    for path in work.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                flush_to_disk(file)
    flush_folder(work)
    # Something may have been written there in the meantime.
    check(folder)
    replaced = beside(folder, "replaced")
    existed = folder.exists()
    if existed:
        os.rename(folder, replaced)
    try:
        os.rename(work, folder)
    except BaseException:  # an interruption too
        if existed:
            os.rename(replaced, folder)
        raise
    flush_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def beside(folder: Path, purpose: str) -> Path:
    """Return an unused hidden name beside `folder`."""
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.{purpose}")
