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

try:
    from elasticdenser.kernel._kernel import add_word as _add_word_by_kernel
except ImportError:  # the kernel is optional: see setup.py
    _add_word_by_kernel = None  # type: ignore[assignment]

_SLACK = np.float32(1 + 1e-5)
"""Bounds are raised by more than the rounding errors of a sum of float32."""

_SAMPLE = 4096
"""Passages, those of the words of greatest weight, among which the k-th best gives a score that the k best reach."""

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
        remaining: float32, (n_terms,), bound of the score that the words from each on can give together.
        lengths: uint32, (n_passages,), number of words of each passage.
        constant: k1 * (1 - b).
        by_length: k1 * b / mean length.
    """

    terms: list[Term]
    remaining: Floats
    lengths: NDArray[np.uint32]
    constant: np.float32
    by_length: np.float32

    @classmethod
    def of(cls, terms: list[Term], lengths: NDArray[np.uint32], constant: float, by_length: float) -> Terms:
        """Return the words of a query with the bounds of what they can give."""
        weights = np.array([term.weight for term in terms], np.float32)
        remaining = weights[::-1].cumsum()[::-1] * _SLACK
        return cls(terms, remaining, lengths, np.float32(constant), np.float32(by_length))

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
    query: Terms, k: int, n_passages: int, also: Positions, allowed: NDArray[np.bool_] | None = None
) -> tuple[Scores, Positions, Scores]:
    """Return the k passages of the highest scores, and the scores of some others.

    Args:
        query: The words of a query.
        k: At least 1.
        n_passages: Number of passages.
        also: int64, (m,), allowed passages whose scores are returned too.
        allowed: bool, (n_passages,), which passages may be found; None is all.

    Returns:
        Scores, float32, and positions, int64, both (n,), n <= k, best first; ties by rising position. Then the scores
        of the passages `also`, float32, (m,).
    """
    sums = _take_zeros(n_passages)
    candidates, n_accumulated = _accumulate(query, k, sums, allowed)
    scores, also_scores = sums[candidates], sums[also]
    sums[candidates] = 0
    _put_zeros_back(sums)
    if len(also):
        _, also_scores = _look_up(query, n_accumulated, np.float32(-np.inf), also, also_scores)
    threshold = _reached_by(scores, k)
    candidates, scores = _look_up(query, n_accumulated, threshold, candidates, scores)
    if len(scores) > k:
        kept = np.flatnonzero(scores >= threshold)
        candidates, scores = candidates[kept], scores[kept]
    if len(scores) > k:
        kept = np.flatnonzero(scores >= _kth_best(scores, k))
        candidates, scores = candidates[kept], scores[kept]
    order = np.lexsort((candidates, -scores))[:k]
    return scores[order], candidates[order], also_scores


def scores_at(query: Terms, positions: Positions) -> Scores:
    """Return the scores of passages, float32, (n,); 0 where no word occurs."""
    _, scores = _look_up(query, 0, np.float32(-np.inf), positions, np.zeros(len(positions), np.float32))
    return scores


def _accumulate(query: Terms, k: int, sums: Floats, allowed: NDArray[np.bool_] | None) -> tuple[Positions, int]:
    """Add up the scores of words until those that remain cannot lift another passage among the k best.

    Args:
        query: The words.
        k: Number of hits.
        sums: float32, (n_passages,), zeros; the scores are added to them.
        allowed: Which passages may be found.

    Returns:
        The passages that have a score, int64, (n,), and how many words were added up.
    """
    found, n_found = [np.empty(0, np.int64)], 0
    for number, term in enumerate(query.terms):
        if k <= n_found < len(term.passages):
            leading = np.concatenate(found)[: max(k, _SAMPLE)]
            if _reached_by(sums[leading], k) > query.remaining[number]:
                return np.concatenate(found), number
        found.append(_add_word(query, term, sums, allowed))
        n_found += len(found[-1])
    return np.concatenate(found), len(query.terms)


def _add_word(query: Terms, term: Term, sums: Floats, allowed: NDArray[np.bool_] | None) -> Positions:
    """Add the scores of a word, and return the passages that had none before, int64, (n,)."""
    if _add_word_by_kernel is not None:
        found = np.empty(len(term.passages), np.int64)
        factors = term.weight, float(query.constant), float(query.by_length)
        n = _add_word_by_kernel(term.passages, term.counts, query.lengths, *factors, allowed, sums, found)
        return found[:n]
    places: Array | slice = slice(None) if allowed is None else np.flatnonzero(allowed[term.passages])
    passages = term.passages[places].astype(np.int64)
    before = sums[passages]
    sums[passages] = before + query.scores(term, places)
    return passages[before == 0]


def _look_up(
    query: Terms, first: int, threshold: np.float32, candidates: Positions, scores: Scores
) -> tuple[Positions, Scores]:
    """Add the scores of the words from `first` on; candidates that cannot reach `threshold` are left out."""
    for number in range(first, len(query.terms)):
        kept = scores + query.remaining[number] >= threshold
        if not kept.all():
            candidates, scores = candidates[kept], scores[kept]
        term = query.terms[number]
        places = np.searchsorted(term.passages, candidates.astype(np.uint32))
        places[places == len(term.passages)] = 0
        hits = np.flatnonzero(term.passages[places] == candidates)
        scores[hits] += query.scores(term, places[hits])
    return candidates, scores


def _reached_by(scores: Scores, k: int) -> np.float32:
    """Return a score that the k best of all are known to reach, judged by the first of them."""
    sample = scores[: max(k, _SAMPLE)]
    return _kth_best(sample, k) if len(sample) >= k else np.float32(-np.inf)


def _kth_best(scores: Scores, k: int) -> np.float32:
    return np.float32(np.partition(scores, len(scores) - k)[len(scores) - k])


def _take_zeros(n: int) -> Floats:
    """Return n zeros, float32, that this thread has used before: new ones would take longer than a search."""
    zeros: Floats | None = getattr(_thread, "zeros", None)
    _thread.zeros = None  # after an error they are not put back
    return np.zeros(n, np.float32) if zeros is None or len(zeros) < n else zeros


def _put_zeros_back(zeros: Floats) -> None:
    _thread.zeros = zeros
