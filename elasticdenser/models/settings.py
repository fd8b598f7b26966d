"""Settings of a sentence encoder, read from its folder in the layout of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import hidden_size
from elasticdenser.models.head_files import output_dim
from elasticdenser.models.lengths import max_positions, read_max_length
from elasticdenser.models.manifest import is_student, read_manifest
from elasticdenser.models.model_files import (
    MIN_LENGTH,
    NORMALIZE,
    PQRNN,
    STATIC,
    Count,
    Module,
    has_modules,
    read_modules,
    read_object,
    transformer_folder,
    value_of,
)
from elasticdenser.models.poolings import POOLINGS, Pooling, read_pooling
from elasticdenser.models.pqrnn_manifest import read_pqrnn_manifest
from elasticdenser.models.prompts import check_unicode, default_prompts, prompt_named, read_prompts
from elasticdenser.models.table_files import MODEL2VEC_LENGTH, UNLIMITED_LENGTH, table_dim
from elasticdenser.models.weights_files import weights_file

Similarity = Literal["cosine", "dot"]
SIMILARITIES = get_args(Similarity)

INT8 = "int8"
"""Name of the 8-bit arithmetic of the kernel in C."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """Settings of a sentence encoder other than its weights.

    Args:
        pooling: How the vectors of a text's tokens become one, one of `POOLINGS`; `mean` for a table of token vectors,
            and for a pQRNN, whose manifest says how it pools.
        normalize: Whether vectors are L2-normalised: they are ranked by inner product, which then is the cosine.
        max_length: Tokens of a text that are encoded, special tokens included; the rest is cut off.
        query_prompt: Text put before every query.
        passage_prompt: Text put before every passage.
        dim: Dimensions of a vector. If the encoder has more, these are its first ones.
    """

    pooling: Pooling
    normalize: bool
    max_length: int
    query_prompt: str = ""
    passage_prompt: str = ""
    dim: int


@dataclass(frozen=True, kw_only=True)
class EncoderFingerprint:
    """Identity of an encoder's vector space.

    Args:
        name: The name or folder that the encoder was loaded by (not compared).
        weights_sha256: SHA-256 of the full encoder's weights; see `weights_files.weights_sha256`.
        settings: Pooling, normalisation, length, prompts and dimension.
        dtype: Arithmetic that the passages were encoded with, such as `bfloat16`. Queries may be encoded with another:
            for BERT and its siblings, vectors of float types agree to a cosine of 0.9999 or better, those in 8 bits to
            about .999. How close half precision is for encoders that transformers computes was not measured.
    """

    name: str
    weights_sha256: str
    settings: EncoderSettings
    dtype: str

    def differences(self, other: EncoderFingerprint) -> list[str]:
        """Return a line for every difference that puts the vectors of `other` into another vector space."""
        mine, theirs = (
            {**asdict(fingerprint.settings), "weights_sha256": fingerprint.weights_sha256}
            for fingerprint in (self, other)
        )
        return [f"{key}: {mine[key]!r} against {theirs[key]!r}" for key in mine if mine[key] != theirs[key]]

    def differences_of_passages(self, other: EncoderFingerprint) -> list[str]:
        """Return a line for every difference that keeps passages encoded by `other` out of the same index.

        Vectors of float types are so close that a build may continue with another float type; those in 8 bits are not.
        """
        mixed = self.dtype != other.dtype and INT8 in (self.dtype, other.dtype)
        return [*self.differences(other), *([f"dtype: {self.dtype!r} against {other.dtype!r}"] if mixed else [])]

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold and `dataclass_io.from_value` reads back."""
        return asdict(self)


def read_settings(folder: Path, **overrides: Any) -> EncoderSettings:
    """Read the settings of the sentence encoder in `folder`.

    Vectors are normalised if the encoder has a module for it, or if it compares vectors by cosine, which is the default
    of sentence-transformers too.

    Args:
        folder: A folder with `modules.json`, as sentence-transformers writes it; or a plain transformer of Hugging
            Face, whose `pooling` has to be given; or a table of model2vec; or a pQRNN.
        overrides: Values of `EncoderSettings` to use instead of the folder's; `similarity`, `cosine` or `dot`, instead
            of its `similarity_fn_name`; `query_prompt_name` and `passage_prompt_name`, to use prompts that the folder
            has under these names. None is the folder's.

    Raises:
        ModelError: `folder` holds no sentence encoder, one that is not supported, or values that make no sense; or an
            override is unknown or out of range.
    """
    modules = read_modules(folder)
    options_file = folder / "config_sentence_transformers.json"
    options = read_object(options_file, optional=True)
    limit, full_dim = _limits(folder, modules)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    _check_overrides(overrides, limit, full_dim)
    similarity = overrides.pop("similarity", None)
    # The smaller of both, as in sentence-transformers.
    kept = full_dim if is_student(folder) else value_of(options, "truncate_dim", Count, options_file, full_dim)
    dim = overrides.get("dim") or min(kept, full_dim)
    has_module = modules[-1].kind == NORMALIZE
    if "normalize" not in overrides:
        similarity = similarity or _read_similarity(options, options_file)
        overrides["normalize"] = has_module or similarity == "cosine"
        if has_module and similarity == "dot" and dim < full_dim:
            raise ModelError(
                f"{options_file}: got dim = {dim} of {full_dim} for an encoder that normalises its vectors, and the "
                "similarity dot, expected cosine: once cut, the vectors differ in length; use --similarity cosine, or "
                f"--dim {full_dim}"
            )
    query_prompt, passage_prompt = _prompts(read_prompts(options, options_file), overrides)
    settings = EncoderSettings(
        pooling=overrides.get("pooling") or _pooling(folder, modules),
        normalize=has_module,
        max_length=_max_length(folder, modules[0], limit),
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        dim=dim,
    )
    return replace(settings, **overrides)


def full_dimensions(folder: Path) -> int:
    """Return the dimensions of the vectors of the sentence encoder in `folder`, none of them cut off."""
    return _limits(folder, read_modules(folder))[1]


def write_settings(folder: Path, settings: EncoderSettings) -> None:
    """Change prompts and maximum length of the sentence encoder in `folder`, so that `read_settings` reads these."""
    prompts = {"query": settings.query_prompt, "document": settings.passage_prompt}
    _change_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    _change_json(transformer_folder(folder) / "sentence_bert_config.json", {"max_seq_length": settings.max_length})


_OVERRIDES: dict[str, type] = {
    "pooling": str,
    "normalize": bool,
    "similarity": str,
    "max_length": int,
    "query_prompt": str,
    "passage_prompt": str,
    "query_prompt_name": str,
    "passage_prompt_name": str,
    "dim": int,
}
_CHOICES = {"pooling": POOLINGS, "similarity": SIMILARITIES}


def _check_overrides(overrides: Mapping[str, Any], limit: int, full_dim: int) -> None:
    unknown = sorted(set(overrides) - set(_OVERRIDES))
    if unknown:
        known = ", ".join(_OVERRIDES)
        raise ModelError(f"got the unknown encoder settings {', '.join(unknown)}, expected some of {known}")
    for name, value in overrides.items():
        choices = _CHOICES.get(name)
        if type(value) is not _OVERRIDES[name] or (choices and value not in choices):
            expected = " or ".join(map(repr, choices)) if choices else _OVERRIDES[name].__name__
            raise ModelError(f"got {name} = {value!r} of the encoder's settings, expected {expected}")
        if type(value) is str:
            check_unicode(value, name)
    if not MIN_LENGTH <= overrides.get("max_length", MIN_LENGTH) <= limit:
        raise ModelError(
            f"got a maximum length of {overrides['max_length']}, expected {MIN_LENGTH} to {limit} tokens for this "
            "encoder"
        )
    if not 1 <= overrides.get("dim", 1) <= full_dim:
        raise ModelError(f"got dim = {overrides['dim']}, expected 1 to {full_dim}, the dimensions of this encoder")


def _change_json(path: Path, changes: Mapping[str, Any]) -> None:
    before = read_object(path, optional=True)
    path.write_text(json.dumps({**before, **changes}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_similarity(options: Mapping[str, Any], path: Path) -> Similarity:
    name = value_of(options, "similarity_fn_name", str, path, "cosine")
    if name not in SIMILARITIES:
        raise ModelError(
            f"{path}: got similarity_fn_name = {name!r}, expected 'cosine' or 'dot': choose a model with one of these, "
            "or give --similarity (similarity= in Python) to rank by one of them"
        )
    return cast(Similarity, name)


def _limits(folder: Path, modules: list[Module]) -> tuple[int, int]:
    """Return the most tokens that an encoder can read, and the dimensions of its vectors before they are cut."""
    first = modules[0]
    if first.kind == STATIC:
        return UNLIMITED_LENGTH, table_dim(weights_file(folder))
    if first.kind == PQRNN:
        return UNLIMITED_LENGTH, read_pqrnn_manifest(folder).dim
    config = read_object(first.folder / "config.json")
    if is_student(folder):
        return max_positions(config), read_manifest(folder).shape.dim
    return max_positions(config), output_dim(modules[2:], hidden_size(config))


def _pooling(folder: Path, modules: list[Module]) -> Pooling:
    if modules[0].kind in (STATIC, PQRNN):
        return "mean"
    if not has_modules(folder):
        raise ModelError(
            f"{folder} has no modules.json: it is a plain transformer, which gives a vector for each token; say how "
            f"they become one with --pooling (pooling= in Python), one of {', '.join(POOLINGS)}, as its authors do; or "
            "give the folder of an encoder in the layout of sentence-transformers"
        )
    return read_pooling(modules[1].folder / "config.json")


def _max_length(folder: Path, first: Module, limit: int) -> int:
    if first.kind == PQRNN:
        return read_pqrnn_manifest(folder).max_length
    if first.kind != STATIC:
        return read_max_length(first.folder, limit)
    return limit if has_modules(folder) else MODEL2VEC_LENGTH


def _prompts(prompts: Mapping[str, str], overrides: dict[str, Any]) -> tuple[str, str]:
    """Return the prompts of queries and of passages; those that are chosen by name are removed from the overrides."""
    chosen = list(default_prompts(prompts))
    for number, kind in enumerate(("query_prompt", "passage_prompt")):
        name = overrides.pop(f"{kind}_name", None)
        if name is not None and kind in overrides:
            raise ModelError(f"got {kind} = {overrides[kind]!r} and {kind}_name = {name!r}, expected one of them")
        if name is not None:
            chosen[number] = prompt_named(prompts, name)
    return chosen[0], chosen[1]
