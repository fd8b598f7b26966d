"""Batches of training texts, and their token ids as the encoder reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from elasticdenser.models.settings import EncoderSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Input of one training step.

    Args:
        token_ids: int64, (n, length), padded with 0.
        mask: bool, (n, length): True where there is a token.
        targets: float32, (n, dim), L2-normalised: the full encoder's vectors of the texts without typing errors.
        bank: float32, (m, dim), in no particular order: vectors of passages, as the index has them, among them the
            nearest of each query; without an index the targets of the batch and of other texts.
    """

    token_ids: Tensor
    mask: Tensor
    targets: Tensor
    bank: Tensor


class TextReader(Protocol):
    """Reader of the training texts for the model in training: an encoder, or a substitute for one.

    Attributes:
        settings: Its prompts, its maximum length, and whether it normalises vectors.
    """

    settings: EncoderSettings

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        """Return the token ids of texts behind a prompt."""


def token_ids_of(reader: TextReader, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of queries, as the model reads them when it encodes."""
    # Private, but of this package.
    return reader._tokenize(texts, reader.settings.query_prompt)


def padded(sequences: Sequence[Sequence[int]], max_length: int | None = None) -> tuple[Tensor, Tensor]:
    """Return token ids, int64, (n, length), padded with 0, and the mask, bool, that is True where there is a token.

    Args:
        sequences: Token ids of the texts, at most `max_length` each.
        max_length: Tokens that the encoder takes; None is any number.
    """
    lengths = np.array([len(token_ids) for token_ids in sequences])
    # Rounded up to few different lengths, because oneDNN compiles its kernels for each length. Short queries are
    # rounded up to even numbers, because multiples of 8 could double them.
    multiple = 2 if lengths.max() <= 16 else 8
    length = min(-(-lengths.max() // multiple) * multiple, max_length or sys.maxsize)
    mask = np.arange(length) < lengths[:, None]
    token_ids = np.zeros(mask.shape, np.int64)
    token_ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in sequences])
    return torch.from_numpy(token_ids), torch.from_numpy(mask)
