"""Candidates that a filter lets through: the structures themselves know neither filters nor deleted passages."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.index.structures.base import CandidateSource

_SPARE = 8
"""Candidates beyond those that a filter lets through on average: chance seldom takes more."""

_GROWTH = 4
"""Factor by which more candidates are requested while too few are let through."""


class FilteredSource:
    """Source that proposes only allowed passages, as many as are requested; a `CandidateSource`.

    More candidates are requested in proportion to the passages that are not allowed, and more again for queries whose
    best candidates are not allowed more often than others.

    Args:
        source: Proposes candidates, the best first.
        allowed: bool, (n_passages,).
        n_allowed: How many of these are true, at least one.
    """

    def __init__(self, source: CandidateSource, allowed: NDArray[np.bool_], n_allowed: int) -> None:
        self._source, self._allowed = source, allowed
        self.max_candidates, self.n_candidates = n_allowed, source.n_candidates

    def candidates(self, queries: Vectors, n_candidates: int) -> Positions:
        """Return positions of allowed passages, int64, (n_queries, n_candidates), -1 where the source has no more.

        Args:
            queries: float32, (n_queries, dim).
            n_candidates: At most `max_candidates`.
        """
        n_passages = self._source.max_candidates
        n_requested = math.ceil(n_candidates * n_passages / self.max_candidates) + _SPARE
        found = np.full((len(queries), n_candidates), -1, np.int64)
        unfilled = np.arange(len(queries))
        while len(unfilled):
            n_requested = min(n_requested, n_passages)
            proposed = self._source.candidates(queries[unfilled], n_requested)
            found[unfilled] = self._first_allowed(proposed, n_candidates)
            if n_requested == n_passages:
                break
            unfilled = unfilled[(found[unfilled, -1] < 0) & (proposed[:, -1] >= 0)]
            n_requested *= _GROWTH
        return found

    def _first_allowed(self, proposed: Positions, n_candidates: int) -> Positions:
        """Return the first allowed candidates of each row: int64, (n_queries, n_candidates), then -1."""
        first = np.full((len(proposed), n_candidates), -1, np.int64)
        for row, positions in enumerate(proposed):  # a row at a time is faster than sorting all rows
            allowed = positions[self._allowed[positions] & (positions >= 0)][:n_candidates]
            first[row, : len(allowed)] = allowed
        return first
