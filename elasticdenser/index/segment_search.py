"""Search in all segments of an index: large ones by their structures, small ones together, by a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.index.filtered_search import SelectedSource, exact_source, filtered_source
from elasticdenser.index.metadata.matches import IndexMatches, Matches
from elasticdenser.index.rescoring import best_candidates
from elasticdenser.index.structures import CandidateSource, ExhaustiveSearch
from elasticdenser.index.structures.threads import faiss_threads
from elasticdenser.index.tables import SegmentTable

SCANNED_TOGETHER_UP_TO = 10_000
"""Passages of small segments whose vectors are copied into memory, 15 MB at 384 dimensions, to scan them as one."""

Hits = tuple[Scores, Positions]
"""Scores, float32, and positions, int64, both (n_queries, k), best first; -infinity and -1 where there are no more."""


class _Part(Protocol):
    """Passages that are searched together."""

    def __len__(self) -> int: ...

    def search(
        self, queries: Vectors, k: int, recall: float | None, matches: IndexMatches | None = None, spare: int = 0
    ) -> Hits:
        """Search with the least effort that reaches a recall@10, all passages or those that match.

        An effort of None is the greatest; `spare` are further hits, as `SegmentSearch.search` takes them.
        """

    def scan(self, queries: Vectors, k: int) -> Hits:
        """Search exactly."""

    def scan_within(self, queries: Vectors, k: int, allowed: Positions) -> Hits:
        """Search some positions of the index, in rising order, exactly; those of other parts are left out."""


class SegmentSearch:
    """Search in the segments of an index; positions are those of the index.

    The scores are exact and ties are broken by position, so that the hits of all parts are merged exactly.

    Args:
        table: The segments.
        threads: Threads that search different parts at a time; 1 is the calling thread alone.
    """

    def __init__(self, table: SegmentTable, threads: int = 1) -> None:
        self._parts = _parts(table)
        n_threads = min(threads, len(self._parts))
        self._pool = ThreadPoolExecutor(n_threads, "segments") if n_threads > 1 else None

    def search(
        self, queries: Vectors, k: int, recall: float | None, matches: IndexMatches | None = None, spare: int = 0
    ) -> Hits:
        """Search by the structures of the segments.

        Args:
            queries: float32, (n_queries, dim).
            k: From 1 to the number of passages, or of those that match.
            recall: As `PassageIndex.search` takes it.
            matches: The passages that may be found; None is all.
            spare: As `PassageIndex.search` takes it; together with k at most the number of passages.

        Raises:
            QueryError: The recall is out of range.
        """
        searches = [partial(part.search, recall=recall, matches=matches, spare=spare) for part in self._parts]
        return merged_hits(self._searched(queries, k, searches), k + spare)

    def scan(self, queries: Vectors, k: int) -> Hits:
        """Score all passages; the arguments are those of `search`."""
        return self._merged(queries, k, [part.scan for part in self._parts])

    def scan_within(self, queries: Vectors, k: int, allowed: Positions) -> Hits:
        """Score some passages.

        Args:
            queries: float32, (n_queries, dim).
            k: From 1 to the number of allowed passages.
            allowed: int64, (n,), positions in rising order.
        """
        return self._merged(queries, k, [partial(part.scan_within, allowed=allowed) for part in self._parts])

    def _merged(self, queries: Vectors, k: int, searches: Sequence[Callable[[Vectors, int], Hits]]) -> Hits:
        return merged_hits(self._searched(queries, k, searches), k)

    def _searched(self, queries: Vectors, k: int, searches: Sequence[Callable[[Vectors, int], Hits]]) -> list[Hits]:
        if self._pool is None:
            return [search(queries, k) for search in searches]

        def on_one_thread(search: Callable[[Vectors, int], Hits]) -> Hits:
            with faiss_threads(1):  # the number is one of each thread
                return search(queries, k)

        return list(self._pool.map(on_one_thread, searches))


def merged_hits(parts: Sequence[Hits], k: int) -> Hits:
    """Return the best hits of several parts of an index, each with the positions of the whole.

    Args:
        parts: The hits of each part, of at least one.
        k: Number of hits to return, or as many as there are.
    """
    if len(parts) == 1:
        return parts[0]
    scores, positions = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    order, rows = np.lexsort((positions, -scores))[:, :k], np.arange(len(scores))[:, None]
    return scores[rows, order], positions[rows, order]


def _parts(table: SegmentTable) -> list[_Part]:
    """Return the parts of an index: each segment alone, but small ones together if there are several."""
    sizes = [len(segment) for segment in table.segments]
    flat = [number for number, own in enumerate(table.segments) if own.files.manifest.structure.factory == "Flat"]
    small: list[int] = []
    for number in sorted(flat, key=sizes.__getitem__):
        if sum(sizes[other] for other in small) + sizes[number] <= SCANNED_TOGETHER_UP_TO:
            small.append(number)
    if len(small) < 2:
        small = []
    parts: list[_Part] = [SegmentPart(table, number) for number in range(len(table.segments)) if number not in small]
    return [*parts, ScannedPart(table, sorted(small))] if small else parts


class SegmentPart:
    """A segment, searched by its structure.

    Args:
        table: The segments of the index.
        number: The number of this one.
    """

    def __init__(self, table: SegmentTable, number: int) -> None:
        self._segment, self._number, self._start = table.segments[number], number, table.start(number)
        self._vectors = self._segment.files.vectors
        self._left = Matches(self._segment.is_left) if len(self._segment.deleted) else None

    def __len__(self) -> int:
        return len(self._segment)

    def search(
        self, queries: Vectors, k: int, recall: float | None, matches: IndexMatches | None = None, spare: int = 0
    ) -> Hits:
        """Search by the structure; queries for which it reaches too few passages are answered by a scan."""
        allowed = self._left if matches is None else matches.by_segment[self._number]
        if allowed is not None and not allowed.n:
            return no_hits(queries)
        structure = self._segment.files.structure
        source = structure.source_for(recall, share=1.0 if allowed is None else allowed.share)
        if allowed is not None:
            k_allowed = min(k, allowed.n)
            source = filtered_source(source, self._vectors, allowed, k_allowed, len(queries), structure, recall)
        scores, rows = _best_of(queries, source, self._vectors, k, spare)
        # Inverted lists and graphs may reach fewer than k passages.
        short = np.flatnonzero(rows[:, -1] < 0) if rows.shape[1] else np.empty(0, np.int64)
        if len(short):
            scores[short], rows[short] = self._scan(queries[short], rows.shape[1], allowed)
        return scores, self._positions(rows)

    def scan(self, queries: Vectors, k: int) -> Hits:
        """Score all passages."""
        scores, rows = self._scan(queries, k, self._left)
        return scores, self._positions(rows)

    def scan_within(self, queries: Vectors, k: int, allowed: Positions) -> Hits:
        """Score those allowed positions of the index that are in this segment."""
        own = allowed[slice(*np.searchsorted(allowed, (self._start, self._start + len(self))))]
        rows = self._segment.rows(own - self._start)
        scores, rows = _best_of(queries, exact_source(self._vectors, rows, len(queries)), self._vectors, k)
        return scores, self._positions(rows)

    def _scan(self, queries: Vectors, k: int, allowed: Matches | None) -> Hits:
        """Return scores and rows of the best of the allowed rows; None allows all."""
        source: CandidateSource = ExhaustiveSearch(self._vectors)
        if allowed is not None:
            if not allowed.n:
                return no_hits(queries)
            source = filtered_source(source, self._vectors, allowed, min(k, allowed.n), len(queries))
        return _best_of(queries, source, self._vectors, k)

    def _positions(self, rows: Positions) -> Positions:
        if not self._start and not len(self._segment.deleted):
            return rows
        return np.where(rows < 0, -1, self._segment.positions(rows) + self._start)


class ScannedPart:
    """Small segments, copied into memory without their deleted passages.

    Args:
        table: The segments of the index.
        numbers: Which of them are small, in rising order.
    """

    def __init__(self, table: SegmentTable, numbers: Sequence[int]) -> None:
        segments = [table.segments[number] for number in numbers]
        starts = [np.arange(table.start(number), table.ends[number]) for number in numbers]
        self._vectors = np.concatenate([segment.files.vectors[segment.is_left] for segment in segments])
        self._all_positions = np.concatenate(starts)
        self._source = ExhaustiveSearch(self._vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self, queries: Vectors, k: int, recall: float | None, matches: IndexMatches | None = None, spare: int = 0
    ) -> Hits:
        """Score all passages, or those that match, whatever the recall."""
        if matches is None:
            return self.scan(queries, k + spare)
        return self._scan_rows(queries, k + spare, np.flatnonzero(matches.mask[self._all_positions]))

    def scan(self, queries: Vectors, k: int) -> Hits:
        """Score all passages."""
        scores, rows = _best_of(queries, self._source, self._vectors, k)
        return scores, self._positions(rows)

    def scan_within(self, queries: Vectors, k: int, allowed: Positions) -> Hits:
        """Score those allowed positions of the index that are in these segments."""
        return self._scan_rows(queries, k, np.flatnonzero(_is_in(self._all_positions, allowed)))

    def _scan_rows(self, queries: Vectors, k: int, rows: Positions) -> Hits:
        scores, rows = _best_of(queries, exact_source(self._vectors, rows, len(queries)), self._vectors, k)
        return scores, self._positions(rows)

    def _positions(self, rows: Positions) -> Positions:
        return np.where(rows < 0, -1, self._all_positions[rows])


def _best_of(queries: Vectors, source: CandidateSource, vectors: Vectors, k: int, spare: int = 0) -> Hits:
    """Return scores and rows of the best candidates, both (n_queries, at most k + spare)."""
    k = min(k, source.max_candidates)
    if not k:
        return no_hits(queries)
    return best_candidates(queries, source, vectors, k, spare, check_order=isinstance(source, SelectedSource))


def no_hits(queries: Vectors) -> Hits:
    """Return scores and positions of no hits: both (n_queries, 0)."""
    return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)


def _is_in(positions: Positions, allowed: Positions) -> NDArray[np.bool_]:
    """Tell which positions are allowed: bool, (n,); both are in rising order."""
    places = np.searchsorted(allowed, positions)
    return np.asarray(np.append(allowed, -1)[places] == positions)
