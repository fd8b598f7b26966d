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
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import BuildError, ElasticDenserError, ModelError
from elasticdenser.models.bert import Weights, read_model
from elasticdenser.models.elastic import ElasticBert, ElasticShape
from elasticdenser.models.locate import ELASTIC, TRAINED, is_elastic
from elasticdenser.models.rows import packed, unpacked
from elasticdenser.models.settings import (
    EncoderSettings,
    module_folders,
    read_json,
    read_settings,
    transformer_folder,
    write_settings,
)

FORMAT = 1
"""Counts the changes of the layout that older versions of this package cannot read."""

MADE_BY = ("name", "weights_sha256")
"""What must be known of the full encoder: what it was loaded by, and the SHA-256 of its weights file."""

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
_AGAIN = "fetch the model again, or train it again"


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
    _check_made_by(made_by, "made_by")
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
    path = folder / ELASTIC
    if not is_elastic(folder):
        raise ModelError(f"{path} is missing: give the folder of an elastic encoder, as `elasticdenser train` makes it")
    shape, made_by = _read_about(path, read_json(path))
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


def _check_made_by(made_by: object, where: str) -> None:
    given = made_by if isinstance(made_by, Mapping) else {}
    absent = [key for key in MADE_BY if not (isinstance(given.get(key), str) and given[key])]
    if absent:
        raise ModelError(
            f"got {where} = {made_by!r}; expected the full encoder's {' and '.join(MADE_BY)} as text, as `find_model` "
            "says them: an index is searched only by encoders of its own vector space"
        )


def _read_about(path: Path, about: Any) -> tuple[ElasticShape, dict[str, Any]]:
    given = about if isinstance(about, dict) else {}
    if given.get("format") != FORMAT:
        raise ModelError(
            f"{path} is of format {given.get('format')!r}; this version reads format {FORMAT}: use the version of "
            "elasticdenser that wrote it, or train again"
        )
    _check_made_by(given.get("made_by"), f"{path}: made_by")
    return _read_shape(path, given.get("shape")), given["made_by"]


def _read_trained(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path} is missing: {_AGAIN}")
    try:
        return unpacked(load_file(path))
    except Exception as error:  # the loader has kinds of errors of its own
        raise ModelError(f"{path} cannot be read ({error}): {_AGAIN}") from error


def _read_shape(path: Path, value: object) -> ElasticShape:
    given = value if isinstance(value, dict) else {}
    known = {field.name: field for field in fields(ElasticShape)}
    _check_names(
        f"{path}: got another shape than this version knows",
        given,
        required=[name for name, field in known.items() if field.default is MISSING],
        known=known,
    )
    for name, its_value in given.items():
        wanted = str(known[name].type)
        if not _is_of(its_value, wanted):
            above = "" if wanted in ("str", "bool") else " above 0"
            raise ModelError(f"{path}: got {name} = {its_value!r} in the shape; expected {wanted}{above}: {_AGAIN}")
    values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in given.items()}
    try:
        return ElasticShape(**values)
    except (ElasticDenserError, ArithmeticError) as error:
        raise ModelError(f"{path}: the shape is of no model ({error}): {_AGAIN}") from error


def _is_of(value: Any, wanted: str) -> bool:
    """Say whether a value of JSON is of a type of `ElasticShape`, spelled as there; all its numbers are positive."""
    if wanted.startswith("tuple"):
        inner = wanted.removeprefix("tuple[").split(",")[0]
        return isinstance(value, list) and all(_is_of(each, inner) for each in value)
    if wanted == "bool" or isinstance(value, bool):
        return wanted == "bool" and isinstance(value, bool)
    if wanted == "str":
        return isinstance(value, str)
    return isinstance(value, int if wanted == "int" else (int, float)) and bool(value > 0)


def _check_tensors(path: Path, expected: Mapping[str, torch.Size], got: Mapping[str, Tensor]) -> None:
    _check_names(f"{path}: got other weights than its elastic.json has", got, required=expected, known=expected)
    for name, shape in expected.items():
        tensor = got[name]
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ModelError(
                f"{path}: got {name} of {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}; expected "
                f"floating-point numbers {tuple(shape)}, as elastic.json has it: {_AGAIN}"
            )


def _check_names(what: str, got: Iterable[str], *, required: Iterable[str], known: Iterable[str]) -> None:
    names = set(got)
    faults = []
    for verb, those in (("missing", set(required) - names), ("unknown", names - set(known))):
        if those:
            more = f" and {len(those) - 5} more" if len(those) > 5 else ""
            faults.append(f"{verb} {', '.join(sorted(those)[:5])}{more}")
    if faults:
        raise ModelError(f"{what}: {'; '.join(faults)}: {_AGAIN}")
