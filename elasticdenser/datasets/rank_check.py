"""Check of the ranks in a run file: they should agree with the scores."""

from __future__ import annotations

import logging
from array import array
from pathlib import Path

import numpy as np
from ir_measures import ScoredDoc
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_NO_RANK = -(1 << 63)

_Fault = tuple[int, int] | None
"""Number of queries with the fault, and position of the first hit with it."""


class RankCheck:
    """Search for ranks that contradict the scores; only a suspicious run is checked completely, as that takes longer.

    Args:
        path: The run file, for warnings.
    """

    def __init__(self, path: Path) -> None:
        self.blank_lines: list[int] = []
        self._path = path
        self._ranks = array("q")
        self._unreadable: list[tuple[int, str]] = []
        self._is_suspicious = False
        self._n_groups = 0
        self._query_id: str | None = None
        self._rank = 0
        self._score = 0.0

    def add(self, query_id: str, rank_text: str, score: float) -> None:
        """Add the rank of the next hit; all hits of a query have the same string object as query id."""
        try:
            rank = int(rank_text)
            self._ranks.append(rank)
        except (ValueError, OverflowError):
            self._unreadable.append((len(self._ranks), rank_text))
            self._ranks.append(_NO_RANK)
            return
        if query_id is self._query_id:
            if rank <= self._rank or score > self._score:
                self._is_suspicious = True
        else:
            self._query_id = query_id
            self._n_groups += 1
        self._rank = rank
        self._score = score

    def warn(self, run: list[ScoredDoc], n_queries: int) -> None:
        """Log at most one warning of each kind."""
        if self._unreadable:
            position, rank_text = self._unreadable[0]
            message = "%s: %d of %d hits have a rank that is not a whole number, first %r in line %d: the scores count"
            logger.warning(message, self._path, len(self._unreadable), len(run), rank_text, self._line(position))
        # A run with hits of a query that are not contiguous can only be checked completely.
        if not self._is_suspicious and self._n_groups == n_queries:
            return
        repeated, contradicted = _rank_faults(run, np.asarray(self._ranks))
        if repeated:
            message = "%s: %d of %d queries have a rank twice, first in line %d: the scores count"
            logger.warning(message, self._path, repeated[0], n_queries, self._line(repeated[1]))
        if contradicted:
            message = (
                "%s: %d of %d queries are in another order by rank than by score, first in line %d: the scores "
                "count; if the ranks are right, write scores that fall with them"
            )
            logger.warning(message, self._path, contradicted[0], n_queries, self._line(contradicted[1]))

    def _line(self, position: int) -> int:
        line = position + 1
        for blank in self.blank_lines:
            line += blank <= line
        return line


def _rank_faults(run: list[ScoredDoc], ranks: NDArray[np.int64]) -> tuple[_Fault, _Fault]:
    """Find repeated ranks, and ranks that contradict the scores."""
    numbers: dict[str, int] = {}
    queries = np.fromiter((numbers.setdefault(hit.query_id, len(numbers)) for hit in run), np.int64, len(run))
    scores = np.fromiter((hit.score for hit in run), np.float64, len(run))
    known = np.flatnonzero(ranks != _NO_RANK)
    # Of equal ranks the best score first, so that comparing neighbours is enough.
    order = known[np.lexsort((-scores[known], ranks[known], queries[known]))]
    hits, next_hits = order[:-1], order[1:]
    same_query = queries[hits] == queries[next_hits]
    same_rank = ranks[hits] == ranks[next_hits]
    later = np.maximum(hits, next_hits)

    def fault(mask: NDArray[np.bool_]) -> _Fault:
        faulty = later[mask]
        return (len(np.unique(queries[faulty])), int(faulty.min())) if len(faulty) else None

    return fault(same_query & same_rank), fault(same_query & ~same_rank & (scores[next_hits] > scores[hits]))
