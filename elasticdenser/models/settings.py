"""Settings of a sentence encoder, read from its folder in the layout of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import hidden_size
from elasticdenser.models.model_files import (
    FETCH_MODEL,
    MIN_LENGTH,
    Count,
    PositiveNumber,
    first_position,
    module_folders,
    read_object,
    transformer_folder,
    value_of,
)

Pooling = Literal["mean", "cls"]
POOLINGS = get_args(Pooling)

Similarity = Literal["cosine", "dot"]
SIMILARITIES = get_args(Similarity)

INT8 = "int8"
"""Name of the 8-bit arithmetic of the kernel in C."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """Settings of a sentence encoder other than its weights.

    Args:
        pooling: `mean` over all tokens or the `cls` token.
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
        weights_sha256: SHA-256 of the full encoder's weights file.
        settings: Pooling, normalisation, length, prompts and dimension.
        dtype: Arithmetic that the passages were encoded with, such as `bfloat16`. Queries may be encoded with another:
            vectors of float types agree to a cosine of 0.9999 or better, those in 8 bits to about .999.
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
        folder: A folder with `modules.json`, as sentence-transformers writes it.
        overrides: Values of `EncoderSettings` to use instead of the folder's, and `similarity`, `cosine` or `dot`,
            instead of its `similarity_fn_name`; None is the folder's.

    Raises:
        ModelError: `folder` holds no sentence encoder, one that is not supported, or values that make no sense; or an
            override is unknown or out of range.
    """
    modules = module_folders(folder)
    config = read_object(modules["Transformer"] / "config.json")
    options_file = folder / "config_sentence_transformers.json"
    options = read_object(options_file, optional=True)
    max_positions, full_dim = _max_positions(config), hidden_size(config)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    _check_overrides(overrides, max_positions, full_dim)
    similarity = overrides.pop("similarity", None)
    # The smaller of both, as in sentence-transformers.
    dim = overrides.get("dim") or min(value_of(options, "truncate_dim", Count, options_file, full_dim), full_dim)
    has_module = "Normalize" in modules
    if "normalize" not in overrides:
        similarity = similarity or _read_similarity(options, options_file)
        overrides["normalize"] = has_module or similarity == "cosine"
        if has_module and similarity == "dot" and dim < full_dim:
            raise ModelError(
                f"{options_file}: got dim = {dim} of {full_dim} for an encoder that normalises its vectors, and the "
                "similarity dot, expected cosine: once cut, the vectors differ in length; use --similarity cosine, or "
                f"--dim {full_dim}"
            )
    query_prompt, passage_prompt = _read_prompts(options, options_file)
    settings = EncoderSettings(
        pooling=_read_pooling(modules["Pooling"] / "config.json"),
        normalize=has_module,
        max_length=_read_max_length(modules["Transformer"], max_positions),
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        dim=dim,
    )
    return replace(settings, **overrides)


def full_dimensions(folder: Path) -> int:
    """Return the dimensions of the vectors of the sentence encoder in `folder`, none of them cut off."""
    return hidden_size(read_object(transformer_folder(folder) / "config.json"))


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
    "dim": int,
}
_CHOICES = {"pooling": POOLINGS, "similarity": SIMILARITIES}


def _check_overrides(overrides: Mapping[str, Any], max_positions: int, full_dim: int) -> None:
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
            _check_unicode(value, name)
    if not MIN_LENGTH <= overrides.get("max_length", MIN_LENGTH) <= max_positions:
        raise ModelError(
            f"got a maximum length of {overrides['max_length']}, expected {MIN_LENGTH} to {max_positions} tokens for "
            "this encoder"
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


def _read_pooling(path: Path) -> Pooling:
    config = read_object(path)
    mode = config.get("pooling_mode")
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if mode is None:
        prefix = "pooling_mode_"
        names = [key.removeprefix(prefix) for key in config if key.startswith(prefix)]
        chosen = [name for name in names if value_of(config, prefix + name, bool, path, False)]
        modes = [name.removesuffix("_tokens").removesuffix("_token") for name in chosen]
        mode = modes[0] if len(modes) == 1 else modes
    include_prompt = value_of(config, "include_prompt", bool, path, True)
    if mode not in POOLINGS or not include_prompt:
        raise ModelError(
            f"{path}: got pooling {mode!r} (include_prompt={include_prompt}), expected 'mean' or 'cls' over all "
            "tokens: choose a model with one of these"
        )
    return cast(Pooling, mode)


def _read_max_length(folder: Path, max_positions: int) -> int:
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        # A float, because tokenizers without a limit have 1e30 there.
        length = value_of(read_object(folder / name, optional=True), key, PositiveNumber, folder / name, 0.0)
        if length:
            if length < MIN_LENGTH or length % 1:
                raise ModelError(
                    f"{folder / name}: got {key} = {length:g}, expected a whole number of tokens, at least "
                    f"{MIN_LENGTH}: {FETCH_MODEL}, or repair the file"
                )
            return int(min(length, max_positions))
    return max_positions


def _max_positions(config: Mapping[str, Any]) -> int:
    """Return the number of tokens that the position table has rows for."""
    where = "the model's config.json"
    n_positions = value_of(config, "max_position_embeddings", Count, where, 512) - first_position(config)
    if n_positions < MIN_LENGTH:
        raise ModelError(
            f"{where} has positions for {max(n_positions, 0)} tokens, expected at least {MIN_LENGTH}: {FETCH_MODEL}"
        )
    return n_positions


def _read_prompts(options: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """Return the prompts of queries and of passages."""
    prompts = value_of(options, "prompts", dict[str, str | None], path, {})
    for name, prompt in prompts.items():
        _check_unicode(prompt or "", f"{path}: prompts.{name}")
    # The same look-up as in encode_query and encode_document of sentence-transformers, which ignore the default prompt.
    passage = next((prompt for key in ("document", "passage", "corpus") if (prompt := prompts.get(key))), "")
    return prompts.get("query") or "", passage


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ModelError(f"{where}: got {text!r}, which is not Unicode text: remove the lone surrogate") from None
