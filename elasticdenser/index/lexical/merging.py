"""Merging of the postings of segments, without reading texts: the files are those that a fresh build would write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions
from elasticdenser.index.lexical.building import BLOCK, Block, all_or_no_postings, write_postings
from elasticdenser.index.lexical.info import LexicalInfo
from elasticdenser.index.lexical.postings import Hashes
from elasticdenser.index.lexical.search import LexicalPart
from elasticdenser.progress import Progress, silent


class _Run(NamedTuple):
    """Postings of some words of a part, those of deleted passages left out.

    Attributes:
        words: int64, (n,), numbers of the words in the part, rising.
        rows: int64, (n,), rows of the passages.
        counts: uint16, (n,), how often the passage holds the word.
    """

    words: Positions
    rows: Positions
    counts: NDArray[np.uint16]


def merge_postings(
    parts: Sequence[LexicalPart], folder: Path, stemmer: str, *, progress: Progress = silent
) -> LexicalInfo:
    """Write the postings of the passages of several parts that are not deleted, in their order.

    The postings are read twice, some million at a time.

    Args:
        parts: Postings by one stemmer, and which passages are deleted.
        folder: The folder of the new segment.
        stemmer: The stemmer.
        progress: Called with (step, postings done, in all).

    Raises:
        BuildError: The disk refuses. No file is left.
    """
    words = np.unique(np.concatenate([part.postings.terms for part in parts]))
    n_by_word = np.zeros(len(words), np.int64)
    for part in parts:
        own = np.searchsorted(words, part.postings.terms)
        for run in _runs(part):
            n_by_word += np.bincount(own[run.words], minlength=len(words))
    is_left = n_by_word > 0
    words, n_by_word = words[is_left], n_by_word[is_left]
    lengths = np.concatenate([part.postings.lengths[_all_left(part)] for part in parts])
    blocks = _blocks(parts, words, int(n_by_word.sum()), progress)
    with all_or_no_postings(folder):
        return write_postings(blocks, words, n_by_word, lengths, folder, stemmer)


def _blocks(parts: Sequence[LexicalPart], words: Hashes, n_postings: int, progress: Progress) -> Iterator[Block]:
    """Yield the postings of all parts with their new positions, and words by their numbers in `words`."""
    done = first = 0
    for part in parts:
        numbers = np.searchsorted(words, part.postings.terms)
        for run in _runs(part):
            positions = first + run.rows - np.searchsorted(part.deleted, run.rows)
            yield Block(numbers[run.words].astype("<u4"), positions.astype("<u4"), run.counts)
            done += len(positions)
            progress("merging words", done, n_postings)
        first += part.n_passages


def _runs(part: LexicalPart) -> Iterator[_Run]:
    """Yield the postings of a part, those of a few words at a time, of one at least."""
    postings, left = part.postings, part.left
    ends = postings.ends
    start = 0
    while start < len(ends):
        begin = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, begin + BLOCK, side="right")))
        words = np.repeat(np.arange(start, stop), np.diff(ends[start:stop], prepend=begin))
        rows, counts = postings.between(begin, int(ends[stop - 1]))
        if left is not None:
            kept = left[rows]
            words, rows, counts = words[kept], rows[kept], counts[kept]
        if len(words):
            yield _Run(words, rows.astype(np.int64), counts)
        start = stop


def _all_left(part: LexicalPart) -> slice | Positions:
    """Return what chooses the passages that are not deleted."""
    return slice(None) if part.left is None else np.flatnonzero(part.left)
