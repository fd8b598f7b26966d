"""What a sentence encoder's folder says about it, in the layout of sentence-transformers."""

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
"""Arithmetic in 8 bits, by our own kernel."""


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How texts become vectors, beside the weights.

    Args:
        pooling: `mean` over all tokens or the `cls` token.
        normalize: Whether vectors get length 1.
        max_length: Tokens of a text that are read, special tokens included.
        query_prompt: Put before every query.
        passage_prompt: Put before every passage.
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
    """What must agree for two encoders to share a vector space, and what is only good to know.

    Args:
        name: The name or folder the encoder was loaded by (not compared).
        weights_sha256: SHA-256 of the weights file.
        settings: Pooling, normalisation, length, prompts and dimension.
        dtype: Arithmetic the passages were encoded with, such as `bfloat16`. Whoever searches may use another: of
            float types the vectors agree to a cosine of 0.9999 or better, in 8 bits to about .999.
    """

    name: str
    weights_sha256: str
    settings: EncoderSettings
    dtype: str

    def differences(self, other: EncoderFingerprint) -> list[str]:
        """Return a line for everything that keeps `other` from sharing this encoder's vector space."""
        mine, theirs = ({**asdict(f.settings), "weights_sha256": f.weights_sha256} for f in (self, other))
        return [f"{key}: {mine[key]!r} against {theirs[key]!r}" for key in mine if mine[key] != theirs[key]]

    def differences_of_passages(self, other: EncoderFingerprint) -> list[str]:
        """Return a line for everything that keeps passages by `other` out of an index of this encoder's.

        Float types are so close that a build may go on with another one; 8 bits go by themselves.
        """
        mixed = self.dtype != other.dtype and INT8 in (self.dtype, other.dtype)
        return [*self.differences(other), *([f"dtype: {self.dtype!r} against {other.dtype!r}"] if mixed else [])]

    def to_json(self) -> dict[str, Any]:
        """Return a value that JSON can hold and `dataclass_io.from_value` reads back."""
        return asdict(self)


def read_settings(folder: Path, **overrides: Any) -> EncoderSettings:
    """Read the settings of the sentence encoder in `folder`.

    Args:
        folder: A folder with `modules.json`, as sentence-transformers writes it.
        overrides: Values of `EncoderSettings` to use instead of the folder's; None means the folder's.

    Raises:
        ModelError: The folder is not one, or asks for something that is not supported.
    """
    kinds = module_folders(folder)
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if unknown or not {"Transformer", "Pooling"} <= set(kinds):
        raise ModelError(
            f"{folder / 'modules.json'} lists the modules {', '.join(kinds)}; supported are Transformer, Pooling "
            "and Normalize: choose a model made of these"
        )
    config = read_json(kinds["Transformer"] / "config.json")
    prompts = _read_prompts(folder)
    settings = EncoderSettings(
        pooling=_read_pooling(kinds["Pooling"] / "config.json"),
        normalize="Normalize" in kinds,
        max_length=_read_max_length(kinds["Transformer"], config),
        query_prompt=prompts["query"],
        passage_prompt=prompts["passage"],
        dim=int(config.get("hidden_size", config.get("dim", 0))),
    )
    given = {key: value for key, value in overrides.items() if value is not None}
    _check_overrides(given, _position_limit(config))
    return replace(settings, **given)


def write_settings(folder: Path, settings: EncoderSettings) -> None:
    """Give the sentence encoder in `folder` other prompts and another maximum length, as `read_settings` reads them."""
    prompts = {"query": settings.query_prompt, "document": settings.passage_prompt}
    _change_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    inner = transformer_folder(folder)
    _change_json(inner / "sentence_bert_config.json", {"max_seq_length": settings.max_length})


def transformer_folder(folder: Path) -> Path:
    """Return where the transformer of the sentence encoder in `folder` lies: older ones have it in a folder inside.

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
        raise ModelError(f"{path} is no list of modules with type and path: fetch the model again") from None


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table that the first token gets: RoBERTa's start after the padding index."""
    if config.get("model_type") not in ("roberta", "xlm-roberta", "camembert"):
        return 0
    padding = config.get("pad_token_id")
    return 2 if padding is None else int(padding) + 1


def read_json(path: Path) -> Any:
    """Read a JSON file of a model.

    Raises:
        ModelError: It is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: the encoder must be a folder in the layout of sentence-transformers"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}): fetch the model again") from None


def _check_overrides(given: Mapping[str, Any], position_limit: int) -> None:
    kinds = {"pooling": str, "normalize": bool, "max_length": int, "query_prompt": str, "passage_prompt": str}
    unknown = sorted(set(given) - set(kinds))
    if unknown:
        raise ModelError(f"unknown encoder settings: {', '.join(unknown)}; those that can be given: {', '.join(kinds)}")
    for name, value in given.items():
        if type(value) is not kinds[name] or (name == "pooling" and value not in POOLINGS):
            expected = " or ".join(map(repr, POOLINGS)) if name == "pooling" else f"{kinds[name].__name__}"
            raise ModelError(f"got {name} = {value!r} of the encoder's settings; expected {expected}")
    if not 2 < given.get("max_length", 3) <= position_limit:
        raise ModelError(
            f"got a maximum length of {given['max_length']}; this encoder takes 3 to {position_limit} tokens"
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
        chosen = [key.removeprefix("pooling_mode_") for key in config if key.startswith("pooling_mode_")]
        chosen = [
            name.removesuffix("_tokens").removesuffix("_token") for name in chosen if config[f"pooling_mode_{name}"]
        ]
        mode = chosen[0] if len(chosen) == 1 else chosen
    if mode not in POOLINGS or not config.get("include_prompt", True):
        raise ModelError(
            f"{path} asks for pooling {mode!r} (include_prompt={config.get('include_prompt', True)}); supported "
            "are 'mean' and 'cls' over all tokens: choose a model with one of these"
        )
    return cast(Pooling, mode)


def _read_max_length(folder: Path, config: dict[str, Any]) -> int:
    limit = _position_limit(config)
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        if (folder / name).is_file():
            value = read_json(folder / name).get(key)
            if value is not None:
                return min(int(value), limit)
    return limit


def _position_limit(config: dict[str, Any]) -> int:
    return int(config.get("max_position_embeddings", 512)) - first_position(config)


def _read_prompts(folder: Path) -> dict[str, str]:
    path = folder / "config_sentence_transformers.json"
    config = read_json(path) if path.is_file() else {}
    prompts = config.get("prompts") or {}
    # As encode_query and encode_document of sentence-transformers look for them, which leave the default prompt out.
    passage = next((prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), "")
    return {"query": prompts.get("query") or "", "passage": passage}
