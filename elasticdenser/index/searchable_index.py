"""Search in an opened index: by vectors, by words, and among the passages that meet a filter."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats, Positions, Scores, Vectors
from elasticdenser.errors import EncoderMismatchError, IndexFormatError, QueryError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.efforts import select_effort
from elasticdenser.index.filters import AnyFilter, Filter, parse_filter
from elasticdenser.index.filters.checking import check_filter
from elasticdenser.index.indexed_passages import IndexedPassages
from elasticdenser.index.lexical import Analyzer, LexicalPart, LexicalSearch
from elasticdenser.index.metadata.matches import IndexMatches
from elasticdenser.index.segment_search import Hits, SegmentSearch, no_hits
from elasticdenser.index.structures.threads import faiss_threads
from elasticdenser.index.tables import SegmentTable
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.query_input import checked_k

_SAMPLED_VECTORS = 1024
"""The standard error of the score of a random passage is then a thirtieth of that of a single one."""


class SearchableIndex(IndexedPassages):
    """Passages of one generation of an index, and search in them; safe to use from several threads.

    Args:
        contents: The generation.
        table: Its segments, opened.
        threads: Shards or segments that are searched at a time.
    """

    def __init__(self, contents: IndexContents, table: SegmentTable, threads: int = 1) -> None:
        super().__init__(contents, table)
        self._threads, self._search = threads, SegmentSearch(table, threads)
        self.lexical = _lexical_search(self.manifest.stemmer, table)

    @cached_property
    def mean_vector(self) -> Floats:
        """Mean of up to 1,024 vectors at even distances, float32, (dim,): its score is that of a random passage."""
        if not len(self):
            return np.zeros(self.dim, np.float32)
        positions = np.unique(np.linspace(0, len(self) - 1, _SAMPLED_VECTORS).astype(np.int64))
        mean: Floats = self.vectors[positions].mean(axis=0)
        return mean

    def check_encoder(self, encoder: EncoderFingerprint) -> None:
        """Refuse an encoder whose vectors are not in the vector space of this index.

        Raises:
            EncoderMismatchError: The encoders differ; the message lists all differences.
        """
        if not isinstance(encoder, EncoderFingerprint):
            raise EncoderMismatchError(
                f"got {encoder!r}, expected the fingerprint of an encoder: use its `fingerprint`"
            )
        differences = self.manifest.encoder.differences(encoder)
        if differences:
            raise EncoderMismatchError(
                f"{self.path} was made by another encoder than {encoder.name} (index against encoder: "
                f"{'; '.join(differences)}). Search it with {self.manifest.encoder.name}, or build the index again"
            )

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        within: Positions | None = None,
        filter: AnyFilter | IndexMatches | None = None,
        exact: bool = False,
        recall: float | None = None,
        spare: int = 0,
    ) -> tuple[Scores, Positions]:
        """Return the passages with the highest inner products, in the calling thread, or those that `open` was given.

        The search structure proposes candidates; their scores are computed from the stored vectors, one passage at a
        time, so that a query has the same scores alone and in a batch. Ties are broken by position in the index.

        Args:
            queries: float32, (n_queries, dim), normalised as the encoder's settings say.
            k: How many hits, at least 1; capped at the number of passages.
            within: int64, (n,): search only these positions, exactly.
            filter: Search only passages whose metadata meets it, such as `section = 'ops' and date >= '2026-01-01'`;
                few passages are searched exactly, and as many hits are found as there are. Or matches of this index,
                from `matches` or `matches_of`.
            exact: Scan all vectors instead of using the search structure.
            recall: Search with the least effort that reaches this recall@10 according to the manifest; None is the
                greatest effort.
            spare: Further hits beyond k, which cost no time: they come from the candidates that are scored exactly in
                order to find k, so that more of the true ones are missed.

        Returns:
            Scores, float32, and positions, int64, both (n_queries, min(k + spare, n)), best first.

        Raises:
            QueryError: The shape is wrong, k or recall is out of range, a value is not finite, or the filter has a
                fault.
        """
        queries, k = self._checked_queries(queries), checked_k(k)
        select_effort(self.manifest.structure.efforts, recall)  # refuses a wrong one also where it is not used
        matches = filter if filter is None or isinstance(filter, IndexMatches) else self.matches(filter)
        with faiss_threads(1):
            if within is not None:
                allowed = self._checked_positions(within)
                allowed = allowed if matches is None else allowed[matches.mask[allowed]]
                return self._scan_within(queries, k + spare, allowed)
            if matches is not None and exact:
                return self._scan_within(queries, k + spare, matches.positions)
            n = len(self) if matches is None else matches.n
            if exact:
                return self._checked_hits(queries, min(k + spare, n), self._search.scan)
            k = min(k, n)
            search = partial(self._search.search, recall=recall, matches=matches, spare=min(spare, n - k))
            return self._checked_hits(queries, k, search)

    def _scan_within(self, queries: Vectors, k: int, allowed: Positions) -> Hits:
        return self._checked_hits(queries, min(k, len(allowed)), partial(self._search.scan_within, allowed=allowed))

    def _checked_hits(self, queries: Vectors, k: int, search: Callable[[Vectors, int], Hits]) -> Hits:
        """Search, and refuse scores that are not numbers; k may be 0."""
        if k == 0:
            return no_hits(queries)
        scores, positions = search(queries, k)
        if np.isnan(scores).any():
            raise IndexFormatError(
                f"{self.path} holds vectors that are not numbers: restore it from a copy, or build it again with "
                "--overwrite"
            )
        return scores, positions

    def matches(self, filter: AnyFilter) -> IndexMatches:
        """Return the passages that meet a filter; those of the last filters are cached.

        Args:
            filter: Text such as `section = 'ops'`, or its form in JSON; see `docs/filters.md`.

        Raises:
            QueryError: The filter has a fault, or the index lacks its fields.
        """
        return self._metadata.matches(self.check_filter(filter))

    def matches_of(self, mask: NDArray[np.bool_]) -> IndexMatches:
        """Return the passages of a mask by position, bool, (n_passages,), to be searched as those of a filter."""
        return self._metadata.matches_of(mask)

    def check_filter(self, filter: AnyFilter) -> Filter:
        """Return a filter, given in any of its forms, after a check that it fits the fields of this index.

        Raises:
            QueryError: It has a fault, or is on other fields or values than the index has.
        """
        parsed = parse_filter(filter)
        check_filter(parsed, self.fields, str(self.path), is_sharded=self.contents.sharded is not None)
        return parsed

    def _checked_queries(self, queries: Vectors) -> Vectors:
        try:
            queries = np.ascontiguousarray(queries, np.float32)
        except (TypeError, ValueError):
            message = f"got {type(queries).__name__} as query vectors, expected numbers, (n_queries, {self.dim})"
            raise QueryError(message) from None
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise QueryError(f"got query vectors of shape {queries.shape}, expected (n_queries, {self.dim})")
        if not np.isfinite(queries).all():
            raise QueryError("got query vectors with values that are not finite: check the encoder")
        return queries

    def _checked_positions(self, within: Positions) -> Positions:
        positions = np.asarray(within)
        if positions.size and not np.issubdtype(positions.dtype, np.integer):
            raise QueryError(f"got positions of type {positions.dtype}, expected whole numbers")
        positions = np.unique(positions.astype(np.int64))
        if len(positions) and (positions[0] < 0 or positions[-1] >= len(self)):
            raise QueryError(f"got positions from {positions[0]} to {positions[-1]}, expected 0 to {len(self) - 1}")
        return positions


def _lexical_search(stemmer: str | None, table: SegmentTable) -> LexicalSearch | None:
    """Return the search by words in all segments; None if the index was built without it."""
    if stemmer is None:
        return None
    parts = [
        LexicalPart(segment.files.postings, table.start(number), segment.deleted)
        for number, segment in enumerate(table.segments)
        if segment.files.postings is not None
    ]
    return LexicalSearch(Analyzer(stemmer), parts)
