"""Building of postings from the texts of an index, in memory that does not grow with the number of passages.

The texts are read in blocks. The postings of a block are sorted by word and appended to a temporary file; when all
blocks are known, they are distributed to their places in the final files.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from elasticdenser.arrays import Array, Positions
from elasticdenser.artifacts import explained_os_errors, flush_to_disk
from elasticdenser.index import layout
from elasticdenser.index.lexical.analysis import Analyzer
from elasticdenser.index.lexical.info import COUNTS, ENDS, LENGTHS, PASSAGES, PREFIX, ROLES, TERMS, LexicalInfo
from elasticdenser.index.lexical.postings import Hashes, hashes_of
from elasticdenser.index.passage_file import PassageFile
from elasticdenser.progress import Progress, silent

BLOCK = 1 << 22
"""Words that are sorted together: at most some 200 MB of memory."""

_MAX_COUNT = np.iinfo(np.uint16).max
_PROGRESS_EVERY = 1024
_ZEROED_AT_ONCE = 1 << 20


class Block(NamedTuple):
    """Postings, sorted by word and then by passage.

    Attributes:
        words: uint32, (n,), numbers of words.
        passages: uint32, (n,), positions of passages.
        counts: uint16, (n,), how often the passage holds the word, at most 65,535.
    """

    words: Array
    passages: Array
    counts: Array


class _Vocabulary(dict[str, int]):
    """Numbers of words in the order of their first appearance, by token; -1 for a token that is a stop word."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.analyzer = analyzer
        self.numbers: dict[str, int] = {}

    def __missing__(self, token: str) -> int:
        word = self.analyzer.word(token)
        number = self.numbers.setdefault(word, len(self.numbers)) if word else -1
        self[token] = number
        return number


def build_postings(
    texts: Iterable[str],
    folder: Path,
    stemmer: str,
    n_passages: int,
    *,
    name: str = PREFIX,
    progress: Progress = silent,
) -> LexicalInfo:
    """Write the postings of texts into a folder.

    Args:
        texts: Contents of the passages, in the order of the index.
        folder: The index, or its build folder. A reader takes notice of the files once the manifest names them.
        stemmer: Stemmer of the analyzer.
        n_passages: Number of texts.
        name: Beginning of the names of the files; files of these names are replaced.
        progress: Called with (step, done, in all).

    Raises:
        BuildError: There is no such stemmer.
        OSError: The disk refuses.
    """
    vocabulary = _Vocabulary(Analyzer(stemmer))
    lengths = np.zeros(n_passages, "<u4")
    spilled = folder / f".{name}.blocks.tmp"
    n_by_word: Positions = np.zeros(0, np.int64)
    try:
        with open(spilled, "wb") as file:
            for block in _blocks(texts, vocabulary, lengths, progress):
                n_by_word = np.pad(n_by_word, (0, len(vocabulary.numbers) - len(n_by_word)))
                n_by_word += np.bincount(block.words, minlength=len(n_by_word))
                for column in block:
                    np.save(file, column)
        with open(spilled, "rb") as file:
            words = hashes_of(list(vocabulary.numbers))
            return write_postings(_read_blocks(file), words, n_by_word, lengths, folder, stemmer, name=name)
    finally:
        spilled.unlink(missing_ok=True)


def build_postings_of(
    folder: Path, n_passages: int, stemmer: str, *, name: str = PREFIX, progress: Progress = silent
) -> LexicalInfo:
    """Write the postings of the passages of an index into its folder; see `build_postings`.

    Raises:
        BuildError: There is no such stemmer, or the disk refuses. No file is left.
    """
    passages = PassageFile(folder / layout.PASSAGES, folder / layout.PASSAGE_OFFSETS)
    contents = (passage.content for passage in passages)
    with all_or_no_postings(folder, name):
        return build_postings(contents, folder, stemmer, n_passages, name=name, progress=progress)


@contextmanager
def all_or_no_postings(folder: Path, name: str = PREFIX) -> Iterator[None]:
    """Remove the files of postings where their writing fails, and explain errors of the disk."""
    try:
        with explained_os_errors(folder):
            yield
    except BaseException:
        for role in ROLES:
            (folder / f"{name}.{role}").unlink(missing_ok=True)
        raise


def write_postings(
    blocks: Iterable[Block],
    words: Hashes,
    n_by_word: Positions,
    lengths: Array,
    folder: Path,
    stemmer: str,
    *,
    name: str = PREFIX,
) -> LexicalInfo:
    """Write the files of postings.

    Args:
        blocks: The postings; for each word, the passages of a block come after those of the one before.
        words: uint64, (n_words,), hashes of the words, by their numbers in the blocks.
        n_by_word: int64, (n_words,), number of postings of each word.
        lengths: uint32, (n_passages,), number of words of each passage.
        folder: The index, or its build folder.
        stemmer: Stemmer of the analyzer that made the words.
        name: Beginning of the names of the files; files of these names are replaced.

    Raises:
        OSError: The disk refuses.
    """
    order = np.argsort(words)
    ends = np.cumsum(n_by_word[order])
    info = LexicalInfo(
        stemmer=stemmer,
        n_terms=len(words),
        n_postings=int(n_by_word.sum()),
        n_words=int(lengths.sum(dtype=np.int64)),
        name=name,
    )
    columns = {TERMS: words[order].astype("<u8"), ENDS: ends.astype("<i8"), LENGTHS: lengths.astype("<u4")}
    for role, values in columns.items():
        with open(folder / info.file(role), "wb") as file:
            file.write(values.tobytes())
            flush_to_disk(file)
    next_places = np.empty_like(n_by_word)
    next_places[order] = ends - n_by_word[order]
    _distribute(blocks, next_places, folder, info)
    return info


def _blocks(texts: Iterable[str], vocabulary: _Vocabulary, lengths: Array, progress: Progress) -> Iterator[Block]:
    """Yield the postings of all texts, block by block; the lengths of the texts are filled in."""
    words, first, done = array("q"), 0, 0
    analyzer_tokens, number_of = vocabulary.analyzer.tokens, vocabulary.__getitem__
    for done, text in enumerate(texts, 1):
        numbers = [number for number in map(number_of, analyzer_tokens(text)) if number >= 0]
        lengths[done - 1] = len(numbers)
        words.extend(numbers)
        if done % _PROGRESS_EVERY == 0:
            progress("words", done, len(lengths))
        if len(words) >= BLOCK:
            yield _sorted_block(words, first, lengths[first:done])
            words, first = array("q"), done
    if words:
        yield _sorted_block(words, first, lengths[first:done])
    progress("words", done, len(lengths))


def _sorted_block(words: array[int], first: int, lengths: Array) -> Block:
    """Return the postings of consecutive texts.

    Args:
        words: Numbers of their words.
        first: Position of the first text.
        lengths: (n,), number of words of each text.
    """
    passages = np.repeat(np.arange(first, first + len(lengths)), lengths)
    keys, counts = np.unique((np.frombuffer(words, np.int64) << 32) | passages, return_counts=True)
    return Block(
        words=(keys >> 32).astype("<u4"),
        passages=(keys & 0xFFFFFFFF).astype("<u4"),
        counts=np.minimum(counts, _MAX_COUNT).astype("<u2"),
    )


def _read_blocks(file: IO[Any]) -> Iterator[Block]:
    """Yield the blocks of the temporary file."""
    while file.peek(1):  # type: ignore[attr-defined]
        yield Block(*(np.load(file) for _ in Block._fields))


def _distribute(blocks: Iterable[Block], next_places: Positions, folder: Path, info: LexicalInfo) -> None:
    """Write the postings of all blocks to their places.

    Args:
        blocks: The blocks, as `write_postings` takes them.
        next_places: int64, (n_terms,), where the postings of each word begin, by the number of the word; changed.
        folder: The folder.
        info: Description of the postings.
    """
    passages = _allocated(folder / info.file(PASSAGES), "<u4", info.n_postings)
    counts = _allocated(folder / info.file(COUNTS), "<u2", info.n_postings)
    for block in blocks:
        words, firsts, n_of_word = np.unique(block.words, return_index=True, return_counts=True)
        places = np.repeat(next_places[words] - firsts, n_of_word) + np.arange(len(block.words))
        passages[places], counts[places] = block.passages, block.counts
        next_places[words] += n_of_word
    for values in (passages, counts):
        if isinstance(values, np.memmap):
            values.flush()


def _allocated(path: Path, dtype: str, n: int) -> Array:
    """Create a file of `n` zeros, and map it into memory.

    The zeros are written: a full disk then raises an error instead of ending the process.
    """
    n_bytes = n * np.dtype(dtype).itemsize
    with open(path, "wb") as file:
        for start in range(0, n_bytes, _ZEROED_AT_ONCE):
            file.write(bytes(min(_ZEROED_AT_ONCE, n_bytes - start)))
        flush_to_disk(file)
    return np.memmap(path, dtype, mode="r+", shape=(n,)) if n else np.empty(0, dtype)
