"""Lengths of texts that an encoder reads, in tokens, special tokens included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import (
    FETCH_MODEL,
    MIN_LENGTH,
    Count,
    PositiveNumber,
    first_position,
    read_object,
    value_of,
)
from elasticdenser.models.table_files import UNLIMITED_LENGTH

_USUAL_LENGTH = 512
"""Maximum length of encoders that do not say theirs."""

_NO_TABLE = ("t5", "mt5", "umt5", "longt5", "t5gemma", "xlnet")
"""Types of models without a table of positions, whatever their config calls `n_positions`."""


def read_max_length(folder: Path, limit: int) -> int:
    """Return the maximum length that the files of a transformer name, or else the usual one.

    Args:
        folder: The transformer's.
        limit: Most tokens that it can read, as `max_positions` returns it.

    Raises:
        ModelError: A file names a length that makes no sense.
    """
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
            if length < UNLIMITED_LENGTH or limit < UNLIMITED_LENGTH:
                return int(min(length, limit))
    return limit if limit < UNLIMITED_LENGTH else _USUAL_LENGTH


def max_positions(config: Mapping[str, Any]) -> int:
    """Return the number of tokens that a transformer can read: as many as it has positions.

    Args:
        config: Content of its `config.json`.

    Raises:
        ModelError: It has positions for too few tokens.
    """
    where = "the model's config.json"
    name = next((name for name in ("max_position_embeddings", "n_positions") if config.get(name) is not None), None)
    if config.get("model_type") in _NO_TABLE:
        return UNLIMITED_LENGTH
    n_positions = value_of(config, name or "max_position_embeddings", Count, where, _USUAL_LENGTH)
    n_positions -= first_position(config)
    if n_positions < MIN_LENGTH:
        raise ModelError(
            f"{where} has positions for {max(n_positions, 0)} tokens, expected at least {MIN_LENGTH}: {FETCH_MODEL}"
        )
    return n_positions
