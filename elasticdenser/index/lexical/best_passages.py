"""Passages of the highest BM25 scores in one set of postings.

The words are taken in turn, those of greatest weight first. Once the words that remain cannot lift a new passage among
the best, they are looked up for the passages found so far alone, so that the long postings of common words are seldom
read (MaxScore: Turtle & Flood, Query Evaluation: Strategies and Optimizations, Information Processing & Management
1995).
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Array, Floats, Positions, Scores

_SLACK = np.float32(1 + 1e-5)
"""Bounds are raised by more than the rounding errors of a sum of float32."""

_thread = threading.local()


class Term(NamedTuple):
    """Word of a query with its postings.

    Attributes:
        weight: Inverse document frequency, times the number of the word in the query: no score of it is higher.
        passages: uint32, (n,), passages that hold the word, in rising order.
        counts: uint16, (n,), how often.
    """

    weight: float
    passages: NDArray[np.uint32]
    counts: NDArray[np.uint16]


class Terms(NamedTuple):
    """Words of a query, and what the score of a word depends on beside them.

    Attributes:
        terms: The words, those of greatest weight first: every score is a sum in this order.
        lengths: uint32, (n_passages,), number of words of each passage.
        constant: k1 * (1 - b).
        by_length: k1 * b / mean length.
    """

    terms: list[Term]
    lengths: NDArray[np.uint32]
    constant: np.float32
    by_length: np.float32

    def scores(self, term: Term, places: Array | slice) -> Scores:
        """Return the scores of a word, float32, (n,), at places in its postings."""
        counts = term.counts[places].astype(np.float32)
        norms = self.lengths[term.passages[places]].astype(np.float32)
        norms *= self.by_length
        norms += self.constant
        norms += counts
        counts /= norms
        counts *= np.float32(term.weight)
        return counts


def best_passages(
    query: Terms, k: int, n_passages: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[Scores, Positions]:
    """Return the k passages of the highest scores.

    Args:
        query: The words of a query.
        k: At least 1.
        n_passages: Number of passages.
        allowed: bool, (n_passages,), which passages may be found; None is all.

    Returns:
        Scores, float32, and positions, int64, both (n,), n <= k, best first; ties by rising position.
    """
    sums = _zeros(n_passages)
    found: list[Array] = []
    try:
        n_accumulated, threshold = _accumulate(query, k, sums, found, allowed)
        candidates = np.concatenate(found) if found else np.empty(0, np.uint32)
        scores = sums[candidates]
    finally:
        for passages in found:
            sums[passages] = 0
    candidates, scores = _look_up(query, n_accumulated, threshold, candidates, scores)
    if len(scores) > k:
        kept = np.flatnonzero(scores >= _kth_best(scores, k))
        candidates, scores = candidates[kept], scores[kept]
    order = np.lexsort((candidates, -scores))[:k]
    return scores[order], candidates[order].astype(np.int64)


def scores_at(query: Terms, positions: Positions) -> Scores:
    """Return the scores of passages, float32, (n,); 0 where no word occurs."""
    _, scores = _look_up(query, 0, np.float32(-np.inf), positions, np.zeros(len(positions), np.float32))
    return scores


def _accumulate(
    query: Terms, k: int, sums: Floats, found: list[Array], allowed: NDArray[np.bool_] | None
) -> tuple[int, np.float32]:
    """Add up the scores of words until those that remain cannot lift another passage among the k best.

    Args:
        query: The words.
        k: Number of hits.
        sums: float32, (n_passages,), zeros; the scores are added to them.
        found: The passages that have a score are appended, each once.
        allowed: Which passages may be found.

    Returns:
        How many words were added up, and a score that the k best are known to reach.
    """
    remaining = _remaining_weights(query)
    n_found, threshold = 0, np.float32(-np.inf)
    for number, term in enumerate(query.terms):
        if k <= n_found < len(term.passages):
            threshold = _kth_best(np.concatenate([sums[passages] for passages in found]), k)
            if threshold > remaining[number]:
                return number, threshold
        places: Array | slice = slice(None) if allowed is None else np.flatnonzero(allowed[term.passages])
        passages, before = term.passages[places], sums[term.passages[places]]
        found.append(passages[before == 0])
        sums[passages] = before + query.scores(term, places)
        n_found += len(found[-1])
    return len(query.terms), threshold


def _look_up(
    query: Terms, first: int, threshold: np.float32, candidates: Array, scores: Scores
) -> tuple[Array, Scores]:
    """Add the scores of the words from `first` on; candidates that cannot reach `threshold` are left out."""
    remaining = _remaining_weights(query)
    for number in range(first, len(query.terms)):
        kept = scores + remaining[number] >= threshold
        if not kept.all():
            candidates, scores = candidates[kept], scores[kept]
        term = query.terms[number]
        places = np.searchsorted(term.passages, candidates.astype(np.uint32))
        places[places == len(term.passages)] = 0
        hits = np.flatnonzero(term.passages[places] == candidates)
        scores[hits] += query.scores(term, places[hits])
    return candidates, scores


def _remaining_weights(query: Terms) -> Floats:
    """Return a bound of the score that the words from each number on can give together, float32, (n_terms,)."""
    weights = np.array([term.weight for term in query.terms], np.float32)
    return np.cumsum(weights[::-1])[::-1] * _SLACK


def _kth_best(scores: Scores, k: int) -> np.float32:
    return np.float32(np.partition(scores, len(scores) - k)[len(scores) - k])


def _zeros(n: int) -> Floats:
    """Return n zeros, float32, which this thread uses again and again: a new array would take longer than a search."""
    zeros: Floats | None = getattr(_thread, "zeros", None)
    if zeros is None or len(zeros) < n:
        zeros = _thread.zeros = np.zeros(n, np.float32)
    return zeros
