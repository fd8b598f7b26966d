"""Static encoder on disk: a table of token vectors, in the layout of sentence-transformers or of model2vec.

- sentence-transformers' `StaticEmbedding`: `model.safetensors` with `embedding.weight`, and `tokenizer.json`.
- model2vec (Tulkens and van Dongen 2024, https://github.com/MinishLab/model2vec): `embeddings`, and maybe a weight of
  each token, and the row of each token in a smaller table. The token of unknown words is left out of the mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import FETCH_MODEL

TABLE_NAMES = ("embedding.weight", "embeddings")
"""Names of the table in the weights file, of sentence-transformers and of model2vec."""

UNLIMITED_LENGTH = 1 << 20
"""Tokens of a text that a static encoder reads: without attention, it has no limit of its own."""

MODEL2VEC_LENGTH = 512
"""Tokens of a text that model2vec reads unless it is told otherwise."""


def table_dim(weights: Path) -> int:
    """Return the dimensions of a table of token vectors, read from the header of its file alone.

    Raises:
        ModelError: The file is damaged, in another format, or has no such table.
    """
    try:
        with open(weights, "rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(n_bytes, 1 << 26)))
        shape = _shape_of_table(header)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{weights} cannot be read as a table of token vectors ({error}), expected the safetensors format: "
            f"{FETCH_MODEL}"
        ) from None
    if shape is None:
        raise ModelError(f"{weights}: got no table {' or '.join(TABLE_NAMES)} of token vectors: {FETCH_MODEL}")
    return shape[1]


def _shape_of_table(header: Mapping[str, Any]) -> tuple[int, int] | None:
    for name in TABLE_NAMES:
        if name in header:
            n_tokens, dim = header[name]["shape"]
            if type(n_tokens) is not int or type(dim) is not int or n_tokens < 1 or dim < 1:
                raise ValueError(f"its shape is {header[name]['shape']}")
            return n_tokens, dim
    return None
