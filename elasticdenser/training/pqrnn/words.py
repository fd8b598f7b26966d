"""Training texts as numbers of words, and the features of these words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from elasticdenser.datasets.words import split_words
from elasticdenser.models.projection import Ternary, WordProjection
from elasticdenser.models.settings import EncoderSettings

_CHUNK = 512
"""Words that are hashed together: bounds the memory of their n-grams."""


class WordReader:
    """Reads texts for `TrainingData`: its token ids are numbers of words, in the order in which they first came.

    The words of all texts stay in memory with their features, mistyped ones too: a kilobyte each for 1,024 features.

    Args:
        projection: Features of words.
        settings: Maximum length in bytes, and whether the teacher's vectors are normalised.
    """

    def __init__(self, projection: WordProjection, settings: EncoderSettings) -> None:
        self.settings = settings
        self._projection = projection
        self._numbers: dict[str, int] = {}
        self._rows: Ternary = np.zeros((0, projection.settings.n_features), np.int8)

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        n_bytes = self.settings.max_length
        cut = [(prompt + text).encode("utf-8", "ignore")[:n_bytes].decode("utf-8", "ignore") for text in texts]
        words = [split_words(text) or [""] for text in cut]
        first = len(self._numbers)
        new = list(dict.fromkeys(word for text in words for word in text if word not in self._numbers))
        self._numbers.update((word, first + number) for number, word in enumerate(new))
        self._add_rows(new, first)
        return [[self._numbers[word] for word in text] for text in words]

    def features(self, numbers: Tensor) -> Tensor:
        """Return the features of words, int8, (..., n_features), by their numbers."""
        return torch.from_numpy(self._rows[numbers.numpy()])

    def _add_rows(self, words: list[str], first: int) -> None:
        rows, end = self._rows, first + len(words)
        if end > len(rows):
            rows = np.zeros((max(2 * len(rows), end), rows.shape[1]), np.int8)
            rows[:first] = self._rows[:first]
        for start in range(0, len(words), _CHUNK):
            chunk = words[start : start + _CHUNK]
            rows[first + start : first + start + len(chunk)] = self._projection(chunk)
        # Another thread may read the rows of earlier words meanwhile, which are the same in both arrays.
        self._rows = rows
