"""Cutting of a corpus into ranges of about equal size, which can be read separately: the passages of shards.

Files with a record on each line are cut between lines, data sets of ir_datasets between documents. Compressed files,
and formats whose records are not lines, stay whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from elasticdenser.datasets.corpora import Corpus
from elasticdenser.datasets.files import compression_of, open_stream
from elasticdenser.datasets.formats import LINE_FORMATS
from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.datasets.sources import IRDS, CorpusPart
from elasticdenser.errors import BadInputError

_BLOCK_BYTES = 1 << 22

_BYTES_OF_DOCUMENT = 512
"""Size that a document of a data set is taken for, beside files; documents of one data set weigh alike in any case."""

Piece = tuple[CorpusPart, int]
"""Part of a corpus that is not cut further, and its weight."""


def cut_corpus(corpus: Corpus, n_ranges: int) -> list[Corpus]:
    """Return corpora that are consecutive ranges of another one and hold all of its passages, in order.

    Every uncompressed file that is cut is read once, to count its lines.

    Args:
        corpus: A corpus of files or data sets, as `open_corpus` opens it.
        n_ranges: Number of ranges, at least 1.

    Raises:
        BadInputError: The corpus is in memory, has too few parts that can be separated, or cannot be read.
    """
    if not corpus.parts:
        raise BadInputError(
            f"the corpus {corpus.name!r} is in memory and has no ranges to cut: write it to a file of JSON lines"
        )
    weights = [_weight(part, corpus.download) for part in corpus.parts]
    whole = sum(weights)
    pieces: list[Piece] = []
    start = 0
    for part, weight in zip(corpus.parts, weights, strict=True):
        bounds = [whole * number // n_ranges - start for number in range(1, n_ranges)]
        pieces += _pieces(part, weight, [bound for bound in bounds if 0 < bound < weight])
        start += weight
    if len(pieces) < n_ranges:
        raise BadInputError(_too_few_message(corpus, pieces, n_ranges))
    return [corpus.of_parts(parts) for parts in _distributed(pieces, n_ranges)]


def with_absolute_paths(corpus: Corpus) -> Corpus:
    """Return the same corpus with absolute paths of its files, for processes that are in another folder."""
    parts = [part if part.format == IRDS else replace(part, path=os.path.abspath(part.path)) for part in corpus.parts]
    return corpus.of_parts(parts, is_whole=True) if parts else corpus


def _weight(part: CorpusPart, download: bool) -> int:
    """Return the size of a part: bytes of a file, an estimate for a data set."""
    if part.format == IRDS:
        return _BYTES_OF_DOCUMENT * load_irds(part.path, download=download).docs_count()
    return max(1, Path(part.path).stat().st_size)


def _pieces(part: CorpusPart, weight: int, bounds: Sequence[int]) -> Iterator[Piece]:
    """Yield the pieces of a part, cut near some offsets in rising order, from its beginning."""
    if not bounds:
        yield part, weight
    elif part.format == IRDS:
        stops = {bound // _BYTES_OF_DOCUMENT for bound in bounds} - {0}
        for start, stop in pairwise([0, *sorted(stops), weight // _BYTES_OF_DOCUMENT]):
            yield _piece(part, PartRange(start=start, stop=stop, first=start + 1), _BYTES_OF_DOCUMENT)
    elif _is_cut(part):
        for within in _line_ranges(part.path, bounds):
            yield _piece(part, within, 1)
    else:
        yield part, weight


def _piece(part: CorpusPart, within: PartRange, unit: int) -> Piece:
    return replace(part, within=within), unit * (within.stop - within.start)


def _is_cut(part: CorpusPart) -> bool:
    line_format = LINE_FORMATS.get(part.format)
    return line_format is not None and not compression_of(part.path) and line_format.has_lines(part.path)


def _line_ranges(path: str, bounds: Sequence[int]) -> Iterator[PartRange]:
    """Yield ranges of whole lines of a file that end behind the lines at some offsets; none is empty."""
    start, first = 0, 1
    with open_stream(path) as stream:
        for bound in [*bounds, None]:
            if bound is not None and bound <= start:
                continue  # within a line that ends behind the last bound
            stop, n_lines = _skip_lines(stream, start, bound)
            if stop > start:
                yield PartRange(start=start, stop=stop, first=first)
            start, first = stop, first + n_lines


def _skip_lines(stream: BinaryIO, position: int, bound: int | None) -> tuple[int, int]:
    """Read whole lines up to an offset or, if it is None, the end; return where they end, and their number."""
    n_lines, last = 0, b"\n"
    while bound is None or position < bound:
        block = stream.read(_BLOCK_BYTES if bound is None else min(_BLOCK_BYTES, bound - position))
        if not block:
            return position, n_lines
        position, n_lines, last = position + len(block), n_lines + block.count(b"\n"), block[-1:]
    while last != b"\n" and (rest := stream.readline(_BLOCK_BYTES)):
        position, n_lines, last = position + len(rest), n_lines + rest.count(b"\n"), rest[-1:]
    return position, n_lines


def _distributed(pieces: Sequence[Piece], n_ranges: int) -> Iterator[list[CorpusPart]]:
    """Yield the consecutive pieces of each range, at least one; a piece belongs to the range that its middle is in."""
    whole = sum(weight for _, weight in pieces)
    ranges: list[list[CorpusPart]] = []
    before = 0
    for number, (part, weight) in enumerate(pieces):
        wanted = (2 * before + weight) * n_ranges // (2 * whole)
        # At once where as many ranges are missing as pieces are left, so that none remains empty.
        if wanted >= len(ranges) or n_ranges - len(ranges) >= len(pieces) - number:
            ranges.append([])
        ranges[-1].append(part)
        before += weight
    yield from ranges


def _too_few_message(corpus: Corpus, pieces: Sequence[Piece], n_ranges: int) -> str:
    whole = [part.path for part, _ in pieces if part.within is None and not _is_cut(part) and part.format != IRDS]
    message = f"the corpus {corpus.name!r} can be cut into at most {len(pieces)} ranges, expected {n_ranges}: "
    if whole:
        return (
            message + f"decompress {whole[0]} or convert it to JSON lines, since it stays whole; or take fewer shards"
        )
    return message + "take fewer shards"
