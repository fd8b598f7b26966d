"""Settings of a sentence encoder, read from its folder in the layout of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from elasticdenser.errors import ModelError

Pooling = Literal["mean", "cls"]
POOLINGS = get_args(Pooling)

INT8 = "int8"
"""Name of the 8-bit arithmetic of the kernel in C."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """Settings of a sentence encoder other than its weights.

    Args:
        pooling: `mean` over all tokens or the `cls` token.
        normalize: Whether vectors are L2-normalised.
        max_length: Tokens of a text that are encoded, special tokens included; the rest is cut off.
        query_prompt: Text put before every query.
        passage_prompt: Text put before every passage.
        dim: Dimensions of a vector.
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

    Args:
        folder: A folder with `modules.json`, as sentence-transformers writes it.
        overrides: Values of `EncoderSettings` to use instead of the folder's; None is the folder's.

    Raises:
        ModelError: `folder` holds no sentence encoder, or one that is not supported.
    """
    modules = module_folders(folder)
    unknown = sorted(set(modules) - {"Transformer", "Pooling", "Normalize"})
    if unknown or not {"Transformer", "Pooling"} <= set(modules):
        raise ModelError(
            f"{folder / 'modules.json'}: got the modules {', '.join(modules)}, expected Transformer, Pooling and, if "
            "any, Normalize: choose a model made of these"
        )
    config = read_json(modules["Transformer"] / "config.json")
    prompts = _read_prompts(folder)
    settings = EncoderSettings(
        pooling=_read_pooling(modules["Pooling"] / "config.json"),
        normalize="Normalize" in modules,
        max_length=_read_max_length(modules["Transformer"], config),
        query_prompt=prompts["query"],
        passage_prompt=prompts["passage"],
        dim=int(config.get("hidden_size", config.get("dim", 0))),
    )
    overrides = {key: value for key, value in overrides.items() if value is not None}
    _check_overrides(overrides, _max_positions(config))
    return replace(settings, **overrides)


def write_settings(folder: Path, settings: EncoderSettings) -> None:
    """Change prompts and maximum length of the sentence encoder in `folder`, so that `read_settings` reads these."""
    prompts = {"query": settings.query_prompt, "document": settings.passage_prompt}
    _change_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    _change_json(transformer_folder(folder) / "sentence_bert_config.json", {"max_seq_length": settings.max_length})


def transformer_folder(folder: Path) -> Path:
    """Return the folder of the transformer of a sentence encoder; older encoders have it in a folder inside.

    Raises:
        ModelError: `folder` holds no sentence encoder.
    """
    return module_folders(folder).get("Transformer", folder)


def module_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each module of a sentence encoder, by the last part of its type.

    Raises:
        ModelError: `folder` holds no sentence encoder.
    """
    path = folder / "modules.json"
    modules = read_json(path)
    try:
        return {str(module["type"]).rsplit(".", 1)[-1]: folder / module["path"] for module in modules}
    except (KeyError, TypeError):
        raise ModelError(f"{path}: expected a list of modules with type and path: fetch the model again") from None


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table for the first token; RoBERTa's positions start after the padding index."""
    if config.get("model_type") not in ("roberta", "xlm-roberta", "camembert"):
        return 0
    padding = config.get("pad_token_id")
    return 2 if padding is None else int(padding) + 1


def read_json(path: Path) -> Any:
    """Read a JSON file of a model.

    Raises:
        ModelError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: give the folder of an encoder in the layout of sentence-transformers"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}): fetch the model again") from None


def _check_overrides(overrides: Mapping[str, Any], max_positions: int) -> None:
    kinds = {"pooling": str, "normalize": bool, "max_length": int, "query_prompt": str, "passage_prompt": str}
    unknown = sorted(set(overrides) - set(kinds))
    if unknown:
        raise ModelError(f"got the unknown encoder settings {', '.join(unknown)}, expected some of {', '.join(kinds)}")
    for name, value in overrides.items():
        if type(value) is not kinds[name] or (name == "pooling" and value not in POOLINGS):
            expected = " or ".join(map(repr, POOLINGS)) if name == "pooling" else f"{kinds[name].__name__}"
            raise ModelError(f"got {name} = {value!r} of the encoder's settings, expected {expected}")
    if not 2 < overrides.get("max_length", 3) <= max_positions:
        raise ModelError(
            f"got a maximum length of {overrides['max_length']}, expected 3 to {max_positions} tokens for this encoder"
        )


def _change_json(path: Path, changes: Mapping[str, Any]) -> None:
    before = read_json(path) if path.is_file() else {}
    path.write_text(json.dumps({**before, **changes}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_pooling(path: Path) -> Pooling:
    config = read_json(path)
    mode = config.get("pooling_mode")
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if mode is None:
        names = [key.removeprefix("pooling_mode_") for key in config if key.startswith("pooling_mode_")]
        modes = [
            name.removesuffix("_tokens").removesuffix("_token") for name in names if config[f"pooling_mode_{name}"]
        ]
        mode = modes[0] if len(modes) == 1 else modes
    if mode not in POOLINGS or not config.get("include_prompt", True):
        raise ModelError(
            f"{path}: got pooling {mode!r} (include_prompt={config.get('include_prompt', True)}), expected 'mean' or "
            "'cls' over all tokens: choose a model with one of these"
        )
    return cast(Pooling, mode)


def _read_max_length(folder: Path, config: dict[str, Any]) -> int:
    limit = _max_positions(config)
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        if (folder / name).is_file():
            value = read_json(folder / name).get(key)
            if value is not None:
                return min(int(value), limit)
    return limit


def _max_positions(config: dict[str, Any]) -> int:
    """Return the number of tokens that the position table has rows for."""
    return int(config.get("max_position_embeddings", 512)) - first_position(config)


def _read_prompts(folder: Path) -> dict[str, str]:
    path = folder / "config_sentence_transformers.json"
    config = read_json(path) if path.is_file() else {}
    prompts = config.get("prompts") or {}
    # The same look-up as in encode_query and encode_document of sentence-transformers, which ignore the default prompt.
    passage = next((prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), "")
    return {"query": prompts.get("query") or "", "passage": passage}
