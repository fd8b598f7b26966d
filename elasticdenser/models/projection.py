"""Hashed ternary features of words, which replace a table of word vectors.

After PRADO (Kaliamoorthi, Ravi and Kozareva 2019): two hash bits make a feature; 01 is -1, 10 is +1, 00 and 11 are 0.
PRADO hashes whole words, so that a typing error makes another word. Here the n-grams of a word's characters are hashed
too; a feature is the sign of the sum over all of them, or 0 where the sum is small. Words that share many n-grams then
share many features (Ravi and Kozareva 2018; Sankar, Ravi and Kozareva 2021). The features depend on the settings and
the characters alone, in any language, on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from elasticdenser.errors import ModelError

Ternary = NDArray[np.int8]
"""int8, any shape: -1, 0 or +1."""

_Hashes = NDArray[np.uint64]

_MAX_CHARACTERS = 64
"""Characters of a word that count: bounds the work for text without spaces."""

_BEGIN, _END = 2, 3
"""Control characters that mark the ends of a word in its n-grams."""

_WHOLE_WORD = 0
"""Length under which whole words are hashed, unlike any n-gram."""

# The constants of splitmix64 (Steele, Lea and Flood 2014).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1, _FACTOR_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, kw_only=True)
class ProjectionSettings:
    """Settings of the features of words.

    Args:
        n_features: Number of features, a multiple of 32.
        ngrams: Lengths of the character n-grams that are hashed beside the whole word; none is the features of PRADO.
        lower_case: Whether upper and lower case are the same.
        seed: Seed of the hash function.

    Raises:
        ModelError: The number of features is not a multiple of 32, or an n-gram is empty.
    """

    n_features: Annotated[int, Meta(ge=32)] = 512
    ngrams: tuple[int, ...] = (2, 3)
    lower_case: bool = True
    seed: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.n_features % 32:
            raise ModelError(f"got {self.n_features} features of a word, expected a multiple of 32")
        if any(length < 1 for length in self.ngrams):
            raise ModelError(f"got n-grams of {min(self.ngrams)} characters, expected at least 1")


class WordProjection:
    """Hash function from words to ternary features; safe to use from several threads.

    Args:
        settings: Settings of the features.
    """

    def __init__(self, settings: ProjectionSettings) -> None:
        self.settings = settings
        n_hashes = settings.n_features // 32
        self._offsets = np.arange(1, n_hashes + 1, dtype=np.uint64) * _GAMMA

    def __call__(self, words: Sequence[str]) -> Ternary:
        """Return the features of words, each of which depends on that word alone.

        Args:
            words: Any words; an empty one has features too.

        Returns:
            int8, (n_words, n_features): -1, 0 or +1.
        """
        n_features = self.settings.n_features
        if not words:
            return np.zeros((0, n_features), np.int8)
        grams, n_grams = self._grams(words)
        hashes = _mixed(grams[:, None] + self._offsets)
        # Little endian on every machine: bits in one order.
        bits = np.unpackbits(hashes.astype("<u8").view(np.uint8), axis=1).view(np.int8)
        starts = np.cumsum(n_grams) - n_grams
        sums = np.add.reduceat(bits[:, :n_features] - bits[:, n_features:], starts, axis=0, dtype=np.int16)
        # The features of one n-gram are 0 with a probability of 1/2. This bound keeps that for sums, whose variance is
        # half the number of n-grams.
        is_large = 4 * sums.astype(np.int32) ** 2 > n_grams[:, None]
        features: Ternary = np.where(is_large, np.sign(sums), 0).astype(np.int8)
        return features

    def _grams(self, words: Sequence[str]) -> tuple[_Hashes, NDArray[np.int64]]:
        """Return the hashes of the n-grams of all words, word by word, and the number of each word's."""
        cut = [(word.lower() if self.settings.lower_case else word)[:_MAX_CHARACTERS] for word in words]
        lengths = np.array([len(word) + 2 for word in cut])
        ends = np.cumsum(lengths)
        characters = np.empty(ends[-1], np.uint64)
        marks = np.zeros(ends[-1], bool)
        marks[ends - 1] = marks[ends - lengths] = True
        characters[ends - lengths], characters[ends - 1] = _BEGIN, _END
        # Lone surrogates, which are no Unicode, are characters like any other here.
        characters[~marks] = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), "<u4")
        word_numbers = np.repeat(np.arange(len(cut)), lengths)
        hashes, owners = [self._whole_words(characters, lengths, ends)], [np.arange(len(cut))]
        for length in self.settings.ngrams:
            starts = np.flatnonzero(np.arange(ends[-1]) + length <= ends[word_numbers])
            hashes.append(self._hashed(characters, starts, length))
            owners.append(word_numbers[starts])
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        return np.concatenate(hashes)[order], np.bincount(owner, minlength=len(cut))

    def _whole_words(self, characters: _Hashes, lengths: NDArray[np.int64], ends: NDArray[np.int64]) -> _Hashes:
        hashes = np.full(len(lengths), self._start(_WHOLE_WORD))
        for place in range(lengths.max()):
            reached = np.flatnonzero(place < lengths)
            hashes[reached] = _mixed(hashes[reached] ^ characters[(ends - lengths)[reached] + place])
        return hashes

    def _hashed(self, characters: _Hashes, starts: NDArray[np.int64], length: int) -> _Hashes:
        hashes = np.full(len(starts), self._start(length))
        for place in range(length):
            hashes = _mixed(hashes ^ characters[starts + place])
        return hashes

    def _start(self, length: int) -> np.uint64:
        return np.uint64((self.settings.seed << 8 | length) & 0xFFFFFFFFFFFFFFFF)


def _mixed(values: _Hashes) -> _Hashes:
    """Return pseudo-random numbers, each of which depends on one value: a step of splitmix64."""
    values = values + _GAMMA
    values = (values ^ (values >> np.uint64(30))) * _FACTOR_1
    values = (values ^ (values >> np.uint64(27))) * _FACTOR_2
    mixed: _Hashes = values ^ (values >> np.uint64(31))
    return mixed
