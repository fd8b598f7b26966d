"""Sentence encoder of our own making on disk, in the layout of sentence-transformers, which loads it too.

config.json, tokenizer.json, ...    those of the transformer that it was made of
model.safetensors                   its weights, float32
modules.json, 1_Pooling/            how the vectors of tokens become one, which is then L2-normalised
made_by.json                        provenance
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import hidden_size
from elasticdenser.models.folders import check_replaceable, replacing_folder
from elasticdenser.models.lengths import max_positions, read_max_length
from elasticdenser.models.manifest import check_provenance
from elasticdenser.models.model_files import (
    NORMALIZE,
    POOLING,
    TRANSFORMER,
    read_config,
    read_object,
    transformer_folder,
)
from elasticdenser.models.poolings import POOLINGS

MADE_BY = "made_by.json"
"""File that tells such an encoder from those of others."""

_FILES = (
    *("added_tokens.json", "config.json", "merges.txt", "special_tokens_map.json", "tokenizer.json"),
    *("tokenizer_config.json", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "vocab.json", "vocab.txt"),
)
"""Files of a transformer that are copied."""

_FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}
"""Poolings whose flags have other names in the config of a Pooling module."""


def save_sentence_encoder(
    folder: Path, *, base: Path, weights: Mapping[str, Tensor], pooling: str, provenance: Mapping[str, Any]
) -> None:
    """Write a sentence encoder.

    Args:
        folder: The folder to write; an encoder of our own making there is replaced, with everything in its folder.
        base: Folder of the transformer or sentence encoder that it was made of; config and tokenizer are copied.
        weights: Weights of the transformer by name, on any device.
        pooling: One of `POOLINGS`.
        provenance: What it was made of, under `PROVENANCE_KEYS`, and any other values of JSON.

    Raises:
        ModelError: Weights are not finite.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    folder, inner = folder.resolve(), transformer_folder(base)
    check_provenance(provenance, "provenance")
    check_sentence_encoder_replaceable(folder)
    tensors = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in weights.items()}
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ModelError(f"{broken[0]} holds numbers that are not finite: train again with a lower learning rate")
    with replacing_folder(folder, check_sentence_encoder_replaceable) as work:
        for name in _FILES:
            if (inner / name).is_file():
                shutil.copyfile(inner / name, work / name)
        (work / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
        for name, content in _settings(base, pooling).items():
            (work / name).parent.mkdir(exist_ok=True)
            _write(work / name, content)
        (work / "2_Normalize").mkdir()
        _write(work / MADE_BY, dict(provenance))


def check_sentence_encoder_replaceable(folder: Path) -> None:
    """Check that a sentence encoder may be written to `folder`: it is absent, empty, or holds one of our own making.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, lambda path: (path / MADE_BY).is_file(), "a sentence encoder that a training made")


def _settings(base: Path, pooling: str) -> dict[str, Any]:
    """Return the settings of the encoder by the name of their file."""
    config = read_config(base)
    kinds = ((TRANSFORMER, ""), (POOLING, "1_Pooling"), (NORMALIZE, "2_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    flags = {f"pooling_mode_{_FLAGS.get(name, name)}": name == pooling for name in POOLINGS}
    inner = transformer_folder(base)
    length = read_max_length(inner, max_positions(config))
    is_lowercased = bool(read_object(inner / "sentence_bert_config.json", optional=True).get("do_lower_case", False))
    return {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": hidden_size(config), **flags},
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": is_lowercased},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
    }


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
