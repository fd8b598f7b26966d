"""Search among the passages that meet a filter.

FAISS's fast scans take no selectors, so the filter is applied to what they propose. Few matching passages are all
scored exactly, which is faster than a scan and finds every hit. Many are found by the search structure, which is asked
for more candidates the fewer passages match; a query for which too few candidates match is answered exactly, too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index.metadata.matches import Matches
from elasticdenser.index.structures import CandidateSource, ExhaustiveSearch

_SCAN_COST, _MAX_SCANNED = 1 / 40, 200_000
"""Cost of scanning the code of a passage, in exact scores of a passage; and number of passages beyond which structures
search lists instead of scanning more. Measured at 384 dimensions, with indexes of 11,300 and 191,000 passages."""

_PROPOSAL_COST = 0.6
"""Cost of proposing one more candidate, in exact scores of a passage."""

_FEW_QUERIES = 4
"""Queries that are scored one by one; more are multiplied with all matching vectors at once."""

_GROWTH = 4
"""Factor by which more candidates are requested where too few match."""

_MAX_REQUESTED_SHARE = 0.25
"""Share of all passages that a structure is asked for at most: beyond, exact scores of the matching ones cost less."""


def filtered_source(
    source: CandidateSource, vectors: Vectors, matches: Matches, k: int, n_queries: int
) -> CandidateSource:
    """Return a source of candidates that all meet a filter, by whichever way is faster.

    Args:
        source: Proposes candidates without a filter.
        vectors: float32, (n_passages, dim).
        matches: The passages that meet the filter, at least one.
        k: Number of hits.
        n_queries: Number of queries that will be searched together.
    """
    if is_exact_faster(matches, source.n_candidates(k)):
        return exact_source(vectors, matches.positions, n_queries)
    return MaskedSource(source, ExhaustiveSearch(vectors, matches.positions), matches)


def is_exact_faster(matches: Matches, n_candidates: int) -> bool:
    """Return whether it takes less time to score all matching passages exactly than to use a search structure.

    Args:
        matches: The passages that meet a filter.
        n_candidates: Number of candidates that the structure proposes without a filter.
    """
    scan = _SCAN_COST * min(len(matches.mask), _MAX_SCANNED)
    return matches.n <= scan + _PROPOSAL_COST * _n_requested(n_candidates, matches)


def _n_requested(n_candidates: int, matches: Matches) -> int:
    """Return how many candidates to request so that enough of them match, if these are as rare as among all passages.

    Three standard deviations more are seldom too few.
    """
    return math.ceil((n_candidates + 3 * math.sqrt(n_candidates)) / matches.share)


def exact_source(vectors: Vectors, positions: Positions, n_queries: int) -> CandidateSource:
    """Return a source of candidates that finds all hits among some passages.

    Args:
        vectors: float32, (n_passages, dim).
        positions: int64, (n,): the passages, in rising order, each once.
        n_queries: Number of queries that will be searched together.
    """
    return GivenCandidates(positions) if n_queries <= _FEW_QUERIES else ExhaustiveSearch(vectors, positions)


class GivenCandidates:
    """Proposal of the same passages to every query, all of them; a `CandidateSource`.

    Args:
        positions: int64, (n,): the passages.
    """

    def __init__(self, positions: Positions) -> None:
        self._positions, self.max_candidates = positions, len(positions)

    def n_candidates(self, k: int) -> int:
        """Return the number of passages."""
        return self.max_candidates

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return the passages for each query, int64, (n_queries, n_candidates)."""
        return np.broadcast_to(self._positions[:n_candidates], (len(queries), n_candidates))


class MaskedSource:
    """Those of another source's candidates that meet a filter; a `CandidateSource`.

    Args:
        source: Proposes candidates without the filter.
        exact: Finds all matching candidates, for queries for which `source` proposes too few of them.
        matches: The passages that meet the filter.
    """

    def __init__(self, source: CandidateSource, exact: CandidateSource, matches: Matches) -> None:
        self._source, self._exact, self._matches = source, exact, matches
        self.max_candidates = matches.n
        self._max_requested = int(_MAX_REQUESTED_SHARE * source.max_candidates)

    def n_candidates(self, k: int) -> int:
        """Return as many matching candidates as the other source would propose without a filter."""
        return self._source.n_candidates(k)

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of matching passages, int64, (n_queries, n_candidates).

        How many candidates are requested for a query does not depend on the other queries.
        """
        found = np.empty((len(queries), n_candidates), np.int64)
        n_requested = _n_requested(n_candidates, self._matches)
        open_rows = np.arange(len(queries))
        while len(open_rows) and n_requested <= self._max_requested:
            proposed = self._source.candidates(queries[open_rows], n_requested)
            kept, is_complete = _first_matching(proposed, self._matches.mask, n_candidates)
            found[open_rows] = kept
            open_rows = open_rows[~is_complete]
            n_requested *= _GROWTH
        if len(open_rows):
            found[open_rows] = self._exact.candidates(queries[open_rows], n_candidates)
        return found


def _first_matching(proposed: Positions, mask: NDArray[np.bool_], n: int) -> tuple[Positions, NDArray[np.bool_]]:
    """Return the first n matching candidates of each query, and for which queries there are so many.

    Args:
        proposed: int64, (n_queries, n_proposed), -1 for none.
        mask: bool, (n_passages,).
        n: How many.

    Returns:
        The candidates, int64, (n_queries, n), -1 for none; and bool, (n_queries,).
    """
    is_match = mask[proposed] & (proposed >= 0)
    rank = np.cumsum(is_match, axis=1)
    is_kept = is_match & (rank <= n)
    kept = np.full((len(proposed), n), -1, np.int64)
    rows, columns = np.nonzero(is_kept)
    kept[rows, rank[rows, columns] - 1] = proposed[rows, columns]
    return kept, rank[:, -1] >= n
