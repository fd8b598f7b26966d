"""An elastic encoder on disk: the folder of its full encoder, and beside that encoder's files two of our own.

    config.json, modules.json, tokenizer.json, ...   the full encoder's, as they were
    model.safetensors                                its weights, float16
    elastic.json                                     format, shape of the sizes, origin
    elastic.safetensors                              what was trained

So whatever reads sentence encoders also reads this folder, as its full encoder. What was trained is float16, but for
layers and level 0: these are stored in 8 bits, a scale a row, which costs no quality that could be measured and keeps
the folder small enough to be shipped. It is written beside its place and renamed, so that it is whole or absent.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import BuildError, ModelError
from elasticdenser.models.bert import Weights, read_model
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.int8_rows import packed, unpacked
from elasticdenser.models.locate import ELASTIC, TRAINED, is_elastic
from elasticdenser.models.manifest import AGAIN, FORMAT, check_made_by, check_names, read_about
from elasticdenser.models.settings import (
    EncoderSettings,
    module_folders,
    read_settings,
    transformer_folder,
    write_settings,
)

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
"""Files of a sentence encoder beside its weights; whatever else lies in its folder is not needed."""

_TOKENS = "embeddings.word_embeddings.weight"


class ElasticFiles(NamedTuple):
    """What was trained, as a folder held it.

    Args:
        model: The sizes, and level 0 where there is one: weights, float32, ready for inference.
        made_by: The full encoder, under the keys of `MADE_BY`, and what else was saved with them.
    """

    model: ElasticBert
    made_by: dict[str, Any]


def save_elastic(
    folder: Path,
    *,
    base: Path,
    model: ElasticBert,
    made_by: Mapping[str, Any],
    settings: EncoderSettings | None = None,
) -> None:
    """Write an elastic encoder: all that passages and queries of every size need.

    Args:
        folder: Where; a model of this kind that stands there is replaced, with all else in its folder.
        base: Folder of the full encoder that the model was made of; its files are copied.
        model: The sizes, on any device.
        made_by: The full encoder, with the keys of `MADE_BY`; whatever else JSON can hold may stand beside them.
        settings: Prompts and maximum length that it was trained with; None is those of the full encoder's folder.

    Raises:
        ModelError: The model was made of another encoder, or weights are too large for float16.
        BuildError: Something else stands there, or the disk refuses; what stood there is whole.
    """
    folder = folder.resolve()
    check_made_by(made_by, "made_by")
    check_replaceable(folder)
    _, full = read_model(base)
    trained = _trained(model, Weights(full))
    about = {"format": FORMAT, "shape": asdict(model.shape), "made_by": dict(made_by)}
    work = _beside(folder, "tmp")
    try:
        with explained_os_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _copy_settings(base, work)
            if settings is not None and settings != read_settings(base):
                write_settings(work, settings)
            # Written by hand: of a full disk the library says only that it is an error of its own.
            halved = {name: _halved(name, tensor) for name, tensor in full.items()}
            inner = transformer_folder(base).relative_to(base)
            (work / inner / "model.safetensors").write_bytes(save(halved, metadata={"format": "pt"}))
            (work / TRAINED).write_bytes(save(trained, metadata={"format": "pt"}))
            (work / ELASTIC).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            _put_in_place(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load_elastic(folder: Path) -> ElasticFiles:
    """Read what `save_elastic` wrote of the sizes; `Bert.load` reads the full encoder there.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other or are of another kind.
    """
    shape, made_by = read_about(folder)
    trained = _read_trained(folder / TRAINED)
    if "tokens" not in trained:
        _, full = read_model(folder)
        trained["tokens"] = Weights(full).get(_TOKENS).float()
    with torch.device("meta"):  # nothing is allocated for weights that are read anyway
        model = ElasticBert(shape)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    _check_tensors(folder / TRAINED, expected, trained)
    model.load_state_dict(trained, assign=True)
    return ElasticFiles(model.eval(), made_by)


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that an elastic encoder must not be written to, as something else stands there.

    Raises:
        BuildError: With the way out.
    """
    if folder.is_dir() and (is_elastic(folder) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise BuildError(
            f"cannot write {folder}: what stands there is no elastic encoder, and is left alone; choose another "
            "folder, or remove it"
        )


def _trained(model: ElasticBert, full: Weights) -> dict[str, Tensor]:
    tokens = full.get(_TOKENS).float()
    if model.tokens.shape != tokens.shape:
        raise ModelError(
            f"got a model of {tuple(model.tokens.shape)} token vectors for an encoder of {tuple(tokens.shape)}; "
            "expected the encoder that the model was made of"
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        is_matrix = name == "table" or (name.startswith("blocks.") and "norm" not in name and "bias" not in name)
        if name != "tokens":
            tensors |= packed(name, tensor) if is_matrix else {name: _halved(name, tensor)}
        elif not torch.equal(tensor.cpu().half(), tokens.half()):  # else they are read with the full encoder
            tensors |= packed(name, tensor)
    return tensors


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    halved = tensor.detach().cpu().half().contiguous()
    if not halved.isfinite().all():
        raise ModelError(
            f"{name} goes up to {float(tensor.abs().max()):g}; expected finite numbers up to 65504, which float16 "
            "ends at: choose another encoder, or train again with a lower learning rate"
        )
    return halved


def _copy_settings(base: Path, work: Path) -> None:
    """Copy a sentence encoder's small files: settings, modules and tokenizer."""
    for inner in {base, *module_folders(base).values()}:
        to = work / inner.relative_to(base)
        to.mkdir(parents=True, exist_ok=True)
        for name in _SETTINGS:
            if (inner / name).is_file():
                shutil.copyfile(inner / name, to / name)


def _put_in_place(work: Path, folder: Path) -> None:
    """Give a complete folder its final name; one that stood there goes only when the new one stands."""
    for path in work.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                flush_to_disk(file)
    flush_folder(work)
    # What came there in the meantime is not to be lost either.
    check_replaceable(folder)
    replaced = _beside(folder, "replaced")
    is_there = folder.exists()
    if is_there:
        os.rename(folder, replaced)
    try:
        os.rename(work, folder)
    except BaseException:  # an interruption too
        if is_there:
            os.rename(replaced, folder)
        raise
    flush_folder(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.{what}")


def _read_trained(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path} is missing: {AGAIN}")
    try:
        return unpacked(load_file(path))
    except Exception as error:  # the loader has kinds of errors of its own
        raise ModelError(f"{path} cannot be read ({error}): {AGAIN}") from error


def _check_tensors(path: Path, expected: Mapping[str, torch.Size], got: Mapping[str, Tensor]) -> None:
    check_names(f"{path}: got other weights than its elastic.json has", got, required=expected, known=expected)
    for name, shape in expected.items():
        tensor = got[name]
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ModelError(
                f"{path}: got {name} of {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}; expected "
                f"floating-point numbers {tuple(shape)}, as elastic.json has it: {AGAIN}"
            )
