"""Search among some of the passages of a segment: those that meet a filter and are not deleted.

Few matching passages are all scored exactly, which is faster than a scan and finds every hit. Many are found by the
search structure, which is asked for more candidates the fewer passages match, because FAISS's fast scans of all codes
take no selectors. Where too few of a query's candidates match, inverted lists propose matching passages alone; without
such lists, ever more is requested until exact scores cost less.
"""

from __future__ import annotations

import math

import numpy as np

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index.metadata.matches import Matches
from elasticdenser.index.rescoring import rescore
from elasticdenser.index.structures import CandidateSource, ExhaustiveSearch, IndexStructure

_SCAN_COST, _MAX_SCANNED = 1 / 40, 200_000
"""Cost of scanning the code of a passage, in exact scores of a passage; and number of passages beyond which structures
search lists instead of scanning more. Measured at 384 dimensions, with indexes of 11,300 and 191,000 passages."""

_SELECTION_COST = 1 / 20
"""Cost of scanning the code of a passage in inverted lists, most of whose passages do not match."""

_SUFFICIENT = 1 / 8
"""Share of the requested candidates that suffices if the hits stand in their first half; see `best_candidates`."""

_PROPOSAL_COST = 0.6
"""Cost of proposing one more candidate, in exact scores of a passage."""

_FEW_QUERIES = 4
"""Queries that are scored one by one; more are multiplied with all matching vectors at once."""

_GROWTHS = (4, 16, 64)
"""Factors by which more candidates are requested where too few match: the least that is probably enough."""

_SPARE = 2
"""Times as many matching candidates as needed, which a request that grows is to find; see `MaskedSource._best`."""


def filtered_source(
    source: CandidateSource,
    vectors: Vectors,
    matches: Matches,
    k: int,
    n_queries: int,
    structure: IndexStructure | None = None,
    recall: float | None = None,
) -> CandidateSource:
    """Return a source of candidates that all match, by whichever way is faster.

    Args:
        source: Proposes candidates among all passages.
        vectors: float32, (n_passages, dim).
        matches: The passages that may be found, at least one.
        k: Number of hits.
        n_queries: Number of queries that will be searched together.
        structure: The structure of `source`, which is used beside it where `source` finds too little.
        recall: The recall for which the structure gave `source`.
    """
    if matches.n == len(matches.mask):
        return source
    wider = None if structure is None else structure.source_for()
    chosen: MaskedSource | SelectedSource = MaskedSource(source, vectors, matches, wider)
    everywhere = structure.source_among(matches) if structure else None
    if structure is not None and everywhere is not None:
        selected = SelectedSource(None, everywhere, matches)
        is_slower = structure.visits_all(recall, matches.share) and chosen.cost_of(k) > selected.cost_of(k)
        chosen = selected if is_slower else SelectedSource(source, everywhere, matches)
    return exact_source(vectors, matches.positions, n_queries) if is_exact_faster(chosen, k) else chosen


def is_exact_faster(chosen: MaskedSource | SelectedSource, k: int) -> bool:
    """Return whether it takes less time to score all matching passages exactly than to find k hits by a structure."""
    return chosen.matches.n <= chosen.cost_of(k)


def exact_source(vectors: Vectors, positions: Positions, n_queries: int) -> CandidateSource:
    """Return a source of candidates that finds all hits among some passages.

    Args:
        vectors: float32, (n_passages, dim).
        positions: int64, (n,): the passages, in rising order, each once.
        n_queries: Number of queries that will be searched together.
    """
    return GivenCandidates(vectors, positions) if n_queries <= _FEW_QUERIES else ExhaustiveSearch(vectors, positions)


def n_to_request(n_candidates: int, share: float) -> int:
    """Return how many candidates to request so that enough match, if these are as rare as among all passages.

    Three standard deviations more are seldom too few.
    """
    return math.ceil((n_candidates + 3 * math.sqrt(n_candidates * (1 - share))) / share)


class GivenCandidates:
    """Proposal of the best of some passages, each of which is scored without a copy; a `CandidateSource`.

    Args:
        vectors: float32, (n_passages, dim).
        positions: int64, (n,): the passages.
    """

    def __init__(self, vectors: Vectors, positions: Positions) -> None:
        self._vectors, self._positions, self.max_candidates = vectors, positions, len(positions)

    def n_candidates(self, k: int) -> int:
        """Return the number of passages: all of them are scored in any case."""
        return self.max_candidates

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return the best of the passages for each query, int64, (n_queries, n_candidates)."""
        everything = np.broadcast_to(self._positions, (len(queries), self.max_candidates))
        if n_candidates == self.max_candidates:
            return everything
        return rescore(queries, everything, self._vectors, n_candidates).positions


class SelectedSource:
    """Matching passages that inverted lists propose alone; a `CandidateSource`.

    Args:
        first: Proposes candidates among all passages, with less effort than all lists take; None for no such source.
        everywhere: Proposes matching passages out of all lists, for queries for which `first` found too few.
        matches: The passages that may be found, at least one.
    """

    def __init__(self, first: CandidateSource | None, everywhere: CandidateSource, matches: Matches) -> None:
        self._first, self._everywhere, self.matches = first, everywhere, matches
        self.max_candidates = matches.n

    def n_candidates(self, k: int) -> int:
        """Return as many candidates as are scored without a filter."""
        return (self._first or self._everywhere).n_candidates(k)

    def cost_of(self, k: int) -> float:
        """Return the time of a search for k hits in all lists, in exact scores of a passage."""
        return _SELECTION_COST * min(len(self.matches.mask), _MAX_SCANNED) + self.n_candidates(k)

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of matching passages, int64, (n_queries, n_candidates), -1 where there are no more."""
        found = np.full((len(queries), n_candidates), -1, np.int64)
        n_sufficient = math.ceil(_SUFFICIENT * n_candidates)
        if self._first is not None:
            n_requested = min(n_to_request(n_candidates, self.matches.share), self._first.max_candidates)
            for row, proposed in enumerate(self._first.candidates(queries, n_requested)):
                matching = proposed[self.matches.mask[proposed] & (proposed >= 0)][:n_candidates]
                found[row, : len(matching)] = matching
        short = np.flatnonzero(found[:, n_sufficient - 1] < 0)
        if len(short):
            proposed = self._everywhere.candidates(queries[short], n_candidates)
            found[short] = np.where(self.matches.mask[proposed], proposed, -1)
        return found


class MaskedSource:
    """Those of another source's candidates that match; a `CandidateSource`.

    Args:
        source: Proposes candidates among all passages.
        vectors: float32, (n_passages, dim).
        matches: The passages that may be found, at least one.
        wider: Proposes candidates where `source` proposed too few that match; None is `source` itself.
    """

    def __init__(
        self, source: CandidateSource, vectors: Vectors, matches: Matches, wider: CandidateSource | None = None
    ) -> None:
        self._source, self._wider, self._vectors, self.matches = source, wider or source, vectors, matches
        self.max_candidates = matches.n

    def n_candidates(self, k: int) -> int:
        """Return as many matching candidates as the other source would propose among all passages."""
        return self._source.n_candidates(k)

    def cost_of(self, k: int) -> float:
        """Return the time of a search for k hits, in exact scores of a passage."""
        return self.cost(n_to_request(self.n_candidates(k), self.matches.share))

    def cost(self, n_requested: int) -> float:
        """Return the time of a request for so many candidates, in exact scores of a passage."""
        return _SCAN_COST * min(len(self.matches.mask), _MAX_SCANNED) + _PROPOSAL_COST * n_requested

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of matching passages, int64, (n_queries, n_candidates).

        How they are found for a query does not depend on the other queries.
        """
        found = np.empty((len(queries), n_candidates), np.int64)
        source, rows_by_request = (
            self._source,
            {n_to_request(n_candidates, self.matches.share): list(range(len(queries)))},
        )
        exact_rows: list[int] = []
        while rows_by_request:
            n_requested, rows = rows_by_request.popitem()
            if n_requested > source.max_candidates:
                exact_rows += rows
                continue
            for row, proposed in zip(rows, source.candidates(queries[rows], n_requested), strict=True):
                matching = proposed[self.matches.mask[proposed] & (proposed >= 0)]
                if len(matching) >= n_candidates:
                    found[row] = self._best(queries[row], matching, n_candidates)
                elif more := self._more(n_requested, n_candidates, len(matching)):
                    rows_by_request.setdefault(more, []).append(row)
                else:
                    exact_rows.append(row)
            source = self._wider
        if exact_rows:
            exact = exact_source(self._vectors, self.matches.positions, len(exact_rows))
            found[exact_rows] = exact.candidates(queries[exact_rows], n_candidates)
        return found

    def _more(self, n_requested: int, n_candidates: int, n_matching: int) -> int:
        """Return how many candidates to request after so many matched; 0 if exact scores cost less."""
        sufficient = (growth for growth in _GROWTHS if growth * n_matching >= _SPARE * n_candidates)
        more = next(sufficient, _GROWTHS[-1]) * n_requested
        return more if self.cost(more) < self.matches.n else 0

    def _best(self, query: Vectors, matching: Positions, n_candidates: int) -> Positions:
        """Return the best of some matching passages, int64, (n_candidates,); if there are many, by exact scores.

        Many match after a request that grew. The filter then is related to the query: its hits are far from the query,
        among many passages of similar scores, and a rough order would lose some.
        """
        if len(matching) <= 1.25 * n_candidates:
            return matching[:n_candidates]
        best: Positions = rescore(query[None], matching[None], self._vectors, n_candidates).positions[0]
        return best
