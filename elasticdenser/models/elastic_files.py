"""An elastic transformer on disk: a folder in the layout of sentence-transformers, with a type of model of our own.

The folder holds all that a query needs (weights, sizes, settings and tokenizer) and says whose vector space it answers
in. It is written beside its place and renamed, so that it is whole or absent.
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
from elasticdenser.models.elastic import ElasticBert, ElasticShape
from elasticdenser.models.settings import EncoderSettings, read_json, read_settings, transformer_folder
from elasticdenser.models.tokenizer import load_tokenizer

MODEL_TYPE = "elastic-bert"
"""What `config.json` calls such a model."""

FORMAT = 1
"""Counts the changes of the layout that older versions of this package cannot read."""

MADE_BY = ("name", "weights_sha256")
"""What must be known of the full encoder: what it was loaded by, and the SHA-256 of its weights file."""

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_WEIGHTS = "model.safetensors"
_TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
_AGAIN = "fetch the model again, or save it again with save_elastic"


class ElasticFiles(NamedTuple):
    """What a folder held.

    Args:
        model: Its weights, float32, ready for inference.
        settings: How texts become its vectors.
        made_by: The full encoder, under the keys of `MADE_BY`, and what else was saved with them.
    """

    model: ElasticBert
    settings: EncoderSettings
    made_by: dict[str, Any]


def is_elastic(folder: Path) -> bool:
    """Say whether `folder` holds an elastic transformer, of whatever format."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def save_elastic(
    model: ElasticBert,
    settings: EncoderSettings,
    tokenizer_from: Path,
    folder: Path,
    *,
    dtype: str = "float16",
    made_by: Mapping[str, Any],
) -> None:
    """Write an elastic transformer and everything that its queries need.

    Args:
        model: On any device.
        settings: How texts become its vectors: those of the full encoder.
        tokenizer_from: The full encoder's folder, whose tokenizer is copied.
        folder: Where; a model of this kind that stands there is replaced, with all else in its folder.
        dtype: Of the weights on disk: `float16`, `bfloat16` or `float32`.
        made_by: The full encoder, with the keys of `MADE_BY`; whatever else JSON can hold may stand beside them.

    Raises:
        ModelError: Model, settings and tokenizer do not fit each other, or weights are too large for the dtype.
        BuildError: Something else stands there, or the disk refuses; what stood there is whole.
    """
    folder = folder.resolve()
    config = _config(model.shape, settings, dtype, made_by)
    tensors = _tensors(model, dtype)
    _check_replaceable(folder)
    work = _beside(folder, "tmp")
    try:
        with explained_os_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir()
            # Written by hand: of a full disk the library says only that it is an error of its own.
            (work / _WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
            lowercase = _copy_tokenizer(tokenizer_from, work, model.shape.vocabulary)
            _write_settings(work, settings, config, lowercase=lowercase)
            if read_settings(work) != settings:  # such as a greatest length beyond the last position
                raise ModelError(f"got {settings}; expected settings that fit the model: {read_settings(work)}")
            _put_in_place(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load_elastic(folder: Path) -> ElasticFiles:
    """Read what `save_elastic` wrote; the tokenizer is read by `load_tokenizer(folder, settings.max_length)`.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other or are of another kind.
    """
    config = read_json(folder / "config.json")
    shape, made_by = _read_config(folder / "config.json", config)
    settings = read_settings(folder)
    if (settings.dim, settings.pooling) != (shape.dim, shape.pooling) or settings.max_length > shape.n_positions:
        raise ModelError(
            f"{folder} is damaged: got {settings.pooling} pooling of up to {settings.max_length} tokens to "
            f"{settings.dim} dimensions, expected {shape.pooling} pooling of up to {shape.n_positions} to {shape.dim}, "
            f"as the shape in its config.json has it; {_AGAIN}"
        )
    path = folder / _WEIGHTS
    if not path.is_file():
        raise ModelError(f"{path} is missing: {_AGAIN}")
    try:
        tensors = load_file(path)
    except Exception as error:  # the loader has kinds of errors of its own
        raise ModelError(f"{path} cannot be read ({error}): {_AGAIN}") from error
    with torch.device("meta"):  # nothing is allocated for weights that are read anyway
        model = ElasticBert(shape)
    _check_tensors(path, {name: tensor.shape for name, tensor in model.state_dict().items()}, tensors)
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return ElasticFiles(model.eval(), settings, made_by)


def _config(shape: ElasticShape, settings: EncoderSettings, dtype: str, made_by: Mapping[str, Any]) -> dict[str, Any]:
    if (settings.dim, settings.pooling) != (shape.dim, shape.pooling):
        raise ModelError(
            f"got settings with {settings.pooling} pooling to {settings.dim} dimensions; expected those of the encoder "
            f"that the model was made of: {shape.pooling} to {shape.dim}"
        )
    if dtype not in _DTYPES:
        raise ModelError(f"got dtype {dtype!r}; expected one of {', '.join(_DTYPES)}")
    _check_made_by(made_by, "made_by")
    return {
        "model_type": MODEL_TYPE,
        "format": FORMAT,
        "torch_dtype": dtype,
        # The names that `read_settings`, and other tools, look for; the model is made of `shape` alone.
        "hidden_size": shape.dim,
        "max_position_embeddings": shape.n_positions,
        "shape": asdict(shape),
        "made_by": dict(made_by),
    }


def _check_made_by(made_by: object, where: str) -> None:
    given = made_by if isinstance(made_by, Mapping) else {}
    absent = [key for key in MADE_BY if not (isinstance(given.get(key), str) and given[key])]
    if absent:
        raise ModelError(
            f"got {where} = {made_by!r}; expected the full encoder's {' and '.join(MADE_BY)} as text, as `find_model` "
            "says them: an index is searched only by encoders of its own vector space"
        )


def _tensors(model: ElasticBert, dtype: str) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensors[name] = tensor.detach().to("cpu", _DTYPES[dtype]).contiguous()
        if not tensors[name].isfinite().all():
            largest = float(tensor.detach().abs().max())
            raise ModelError(
                f"{name} goes up to {largest:g}; expected finite numbers up to {torch.finfo(_DTYPES[dtype]).max:g}, "
                f"which {dtype} ends at: save in float32, or train again with a lower learning rate"
            )
    return tensors


def _copy_tokenizer(source: Path, work: Path, vocabulary: int) -> bool:
    """Copy the tokenizer's files and return whether texts are lowercased before it."""
    inner = transformer_folder(source)
    n_tokens = load_tokenizer(inner, 512).get_vocab_size()
    if n_tokens > vocabulary:
        raise ModelError(
            f"got a tokenizer of {n_tokens:,} tokens in {inner} for a model of {vocabulary:,}; expected the tokenizer "
            "of the encoder that the model was made of"
        )
    for name in _TOKENIZER:
        if (inner / name).is_file():
            shutil.copyfile(inner / name, work / name)
    path = inner / "sentence_bert_config.json"
    return path.is_file() and bool(read_json(path).get("do_lower_case"))


def _write_settings(work: Path, settings: EncoderSettings, config: dict[str, Any], *, lowercase: bool) -> None:
    kinds = {"Transformer": "", "Pooling": "1_Pooling", **({"Normalize": "2_Normalize"} if settings.normalize else {})}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds.items())
    ]
    pooling = {
        "word_embedding_dimension": settings.dim,
        "pooling_mode_cls_token": settings.pooling == "cls",
        "pooling_mode_mean_tokens": settings.pooling == "mean",
    }
    files = {
        "config.json": config,
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": settings.max_length, "do_lower_case": lowercase},
        "config_sentence_transformers.json": {
            "prompts": {"query": settings.query_prompt, "document": settings.passage_prompt}
        },
    }
    (work / "1_Pooling").mkdir()
    for name, value in files.items():
        (work / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_replaceable(folder: Path) -> None:
    if folder.is_dir() and (is_elastic(folder) or not any(folder.iterdir())):
        return
    if folder.exists():
        raise BuildError(
            f"cannot write {folder}: what stands there is no elastic model, and is left alone; choose another folder, "
            "or remove it"
        )


def _put_in_place(work: Path, folder: Path) -> None:
    """Give a complete folder its final name; one that stood there goes only when the new one stands."""
    for path in work.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                flush_to_disk(file)
    flush_folder(work)
    # What came there in the meantime is not to be lost either.
    _check_replaceable(folder)
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


def _read_config(path: Path, config: Any) -> tuple[ElasticShape, dict[str, Any]]:
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != MODEL_TYPE:
        raise ModelError(
            f"{path} is of a model of type {kind!r}; expected {MODEL_TYPE!r}: give the folder of an elastic model"
        )
    if config.get("format") != FORMAT:
        raise ModelError(
            f"{path} is of format {config.get('format')!r}; this version reads format {FORMAT}: use the version of "
            "elasticdenser that wrote it, or make the model again"
        )
    _check_made_by(config.get("made_by"), f"{path}: made_by")
    return _read_shape(path, config.get("shape")), config["made_by"]


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
            above = "" if wanted == "str" else " above 0"
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
    if isinstance(value, bool):
        return False
    if wanted == "str":
        return isinstance(value, str)
    return isinstance(value, int if wanted == "int" else (int, float)) and bool(value > 0)


def _check_tensors(path: Path, expected: Mapping[str, torch.Size], got: Mapping[str, Tensor]) -> None:
    _check_names(f"{path}: got other weights than its config.json has", got, required=expected, known=expected)
    for name, shape in expected.items():
        tensor = got[name]
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ModelError(
                f"{path}: got {name} of {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}; expected "
                f"floating-point numbers {tuple(shape)}, as config.json has it: {_AGAIN}"
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
