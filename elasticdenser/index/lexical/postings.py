"""Postings of one index folder, memory-mapped: which passages hold a word, and how often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Array, Positions
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.lexical.analysis import word_hash
from elasticdenser.index.lexical.info import COUNTS, ENDS, LENGTHS, PASSAGES, TERMS, LexicalInfo

Hashes = NDArray[np.uint64]
"""uint64, (n,): hashes of words."""


class Postings:
    """Postings of one index folder; immutable, and safe to use from several threads.

    Args:
        folder: The index.
        info: Their description in its manifest.
        n_passages: Number of its passages.

    Attributes:
        n_words: Number of words of all passages together.
        terms: uint64, (n_terms,), hashes of the words in rising order.
        ends: int64, (n_terms,), where the postings of each word end.
        lengths: uint32, (n_passages,), number of words of each passage, repeated ones included.

    Raises:
        IndexFormatError: The files do not belong together.
    """

    def __init__(self, folder: Path, info: LexicalInfo, n_passages: int) -> None:
        self.n_words = info.n_words
        self.terms = _memory_map(folder / info.file(TERMS), "<u8", info.n_terms)
        self.ends = _memory_map(folder / info.file(ENDS), "<i8", info.n_terms)
        self._passages = _memory_map(folder / info.file(PASSAGES), "<u4", info.n_postings)
        self._counts = _memory_map(folder / info.file(COUNTS), "<u2", info.n_postings)
        self.lengths = _memory_map(folder / info.file(LENGTHS), "<u4", n_passages)
        if info.n_terms and self.ends[-1] != info.n_postings:
            raise IndexFormatError(
                f"{folder} has postings that end at {self.ends[-1]:,}, expected {info.n_postings:,}: build them again "
                f"with `elasticdenser rebuild {folder} --hybrid`"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def find(self, terms: Hashes) -> Positions:
        """Return the number of each word, int64, (n,), for `passages` and `counts`; -1 for a word that does not occur.

        Args:
            terms: The words' hashes, as `hashes_of` returns them.
        """
        numbers = np.searchsorted(self.terms, terms)
        is_known = numbers < len(self.terms)
        is_known[is_known] = self.terms[numbers[is_known]] == terms[is_known]
        return np.where(is_known, numbers, -1)

    def passages(self, number: int) -> NDArray[np.uint32]:
        """Return the positions of the passages that hold a word, uint32, (n,), in rising order."""
        return self._passages[self._slice(number)]

    def counts(self, number: int) -> NDArray[np.uint16]:
        """Return how often each of these passages holds the word, uint16, (n,)."""
        return self._counts[self._slice(number)]

    def between(self, start: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """Return passages and counts of the postings from one place to before another, whatever their words."""
        return self._passages[start:stop], self._counts[start:stop]

    def _slice(self, number: int) -> slice:
        return slice(int(self.ends[number - 1]) if number else 0, int(self.ends[number]))


def hashes_of(words: list[str]) -> Hashes:
    """Return the hashes of words, uint64, (n,)."""
    return np.array([word_hash(word) for word in words], np.uint64)


def _memory_map(path: Path, dtype: str, n: int) -> Array:
    if not n:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    # As a plain array: every access to a memmap creates another memmap object, which is slow.
    return np.asarray(np.memmap(path, dtype, mode="r", shape=(n,)))
