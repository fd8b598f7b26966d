"""BM25 over one or several sets of postings, with statistics that are common to all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats, Positions, Scores
from elasticdenser.index.lexical.analysis import Analyzer
from elasticdenser.index.lexical.best_passages import Term, Terms, best_passages, scores_at
from elasticdenser.index.lexical.postings import Hashes, Postings, hashes_of

K1, B = 0.9, 0.4
"""Anserini's defaults, which suit passages."""

Mask = NDArray[np.bool_]
"""bool, (n,): which passages count."""


_KEPT_QUERIES = 256
"""A hybrid search asks for the words of each query of its batch twice."""

_NOTHING_DELETED: Positions = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class LexicalPart:
    """Postings of one segment, as a part of an index.

    Positions in the files are *rows*; positions of the index leave deleted passages out. So do the statistics: a
    deletion leaves no trace in the scores.

    Args:
        postings: The postings.
        first: Position in the index of their first passage.
        deleted: int64, rows of the deleted passages in rising order.
    """

    postings: Postings
    first: int = 0
    deleted: Positions = field(default_factory=_NOTHING_DELETED.copy)

    @property
    def n_passages(self) -> int:
        """Number of passages that are not deleted."""
        return len(self.postings) - len(self.deleted)

    @cached_property
    def n_words(self) -> int:
        """Number of words of these passages together."""
        return self.postings.n_words - int(self.postings.lengths[self.deleted].sum(dtype=np.int64))

    @cached_property
    def left(self) -> Mask | None:
        """Which rows are not deleted: bool, (n_rows,); None if nothing is deleted."""
        if not len(self.deleted):
            return None
        left = np.ones(len(self.postings), bool)
        left[self.deleted] = False
        return left

    def allowed_rows(self, allowed: Mask | None) -> Mask | None:
        """Return which rows may be found, bool, (n_rows,); None if all may.

        Args:
            allowed: bool, (n,), which positions of the index may be found; None is all.
        """
        if allowed is None or self.left is None:
            return self.left if allowed is None else allowed[self.first : self.first + self.n_passages]
        rows = self.left.copy()
        rows[self.left] = allowed[self.first : self.first + self.n_passages]
        return rows

    def positions(self, rows: Positions) -> Positions:
        """Return the positions in the index of rows that are not deleted."""
        return self.first + rows - np.searchsorted(self.deleted, rows)

    def rows(self, positions: Positions) -> Positions:
        """Return the rows of positions of the index that are in this part."""
        inside = positions - self.first
        return inside + np.searchsorted(self.deleted - np.arange(len(self.deleted)), inside, side="right")

    def holds(self, positions: Positions) -> Mask:
        """Tell which positions of the index are in this part: bool, (n,)."""
        return (positions >= self.first) & (positions < self.first + self.n_passages)

    def frequencies(self, numbers: Positions) -> Positions:
        """Return how many of these passages hold each word, int64, (n,).

        Args:
            numbers: int64, (n,), numbers of words, as `Postings.find` returns them.
        """
        return np.array([self._frequency(number) if number >= 0 else 0 for number in numbers.tolist()], np.int64)

    def _frequency(self, number: int) -> int:
        passages = self.postings.passages(number)
        return len(passages) if self.left is None else int(self.left[passages].sum())


class _Query(NamedTuple):
    """Words of a query, those of greatest weight first.

    Attributes:
        hashes: uint64, (n,), the words.
        weights: float32, (n,), inverse document frequency of each word, times its number in the query.
    """

    hashes: Hashes
    weights: Floats


class LexicalSearch:
    """Search by words in an index; safe to use from several threads.

    Args:
        analyzer: Makes words of queries, as it did of the passages.
        parts: The postings, of passages that follow each other.

    Attributes:
        analyzer: The analyzer.
        n_passages: Number of passages that are not deleted.
    """

    def __init__(self, analyzer: Analyzer, parts: Sequence[LexicalPart]) -> None:
        self.analyzer, self._parts = analyzer, tuple(parts)
        self.n_passages = sum(part.n_passages for part in parts)
        n_words = sum(part.n_words for part in parts)
        self._analyze = lru_cache(_KEPT_QUERIES)(self._analyze_query)
        self._mean_length = n_words / self.n_passages if n_words else 1.0

    def search(
        self, query: str, k: int, *, allowed: Mask | None = None, k1: float = K1, b: float = B
    ) -> tuple[Scores, Positions]:
        """Return the passages of the highest scores; passages without a word of the query are no hits.

        The score is BM25 as Lucene computes it, without the constant factor k1 + 1: the sum over the query's words of
        ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length)), where n of N passages
        hold the word, and the passage f times (Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and
        Beyond, 2009). All hits are found.

        Args:
            query: The query.
            k: Number of hits, at least 1.
            allowed: bool, (n_passages,): which passages may be found, by position in the index; None is all.
            k1: Weight of repetitions of a word, from 0.
            b: Strength of the length normalisation, from 0 to 1.

        Returns:
            Scores, float32, and positions, int64, both (n,), n <= k, best first; ties in the order of the index.
        """
        nothing: Positions = np.empty(0, np.int64)
        return self.search_and_score(query, k, nothing, allowed=allowed, k1=k1, b=b)[:2]

    def search_and_score(
        self, query: str, k: int, positions: Positions, *, allowed: Mask | None = None, k1: float = K1, b: float = B
    ) -> tuple[Scores, Positions, Scores]:
        """Return what `search` and `scores` return, in less time than both.

        Args:
            query: The query.
            k: As for `search`.
            positions: int64, (m,), of allowed passages whose scores are returned.
            allowed: As for `search`.
            k1: As for `search`.
            b: As for `search`.

        Returns:
            Scores and positions of the hits, as from `search`; then the scores of `positions`, float32, (m,).
        """
        analyzed = self._analyze(query)
        found, scores_of_positions = [], np.zeros(len(positions), np.float32)
        for part in self._parts:
            terms, mask = self._terms(part, analyzed, k1, b), part.allowed_rows(allowed)
            inside = part.holds(positions)
            also = part.rows(positions[inside])
            scores, rows, scores_of_positions[inside] = best_passages(terms, k, len(part.postings), also, mask)
            found.append((scores, part.positions(rows)))
        if len(found) == 1:
            return *found[0], scores_of_positions
        found.append((np.empty(0, np.float32), np.empty(0, np.int64)))  # an index may have no passages
        all_scores, all_positions = (np.concatenate(columns) for columns in zip(*found, strict=True))
        order = np.lexsort((all_positions, -all_scores))[:k]
        return all_scores[order], all_positions[order], scores_of_positions

    def scores(self, query: str, positions: Positions, *, k1: float = K1, b: float = B) -> Scores:
        """Return the scores of passages, float32, (n,), equal to those of `search`; 0 without a word of the query.

        Args:
            query: The query.
            positions: int64, (n,), each in the index.
            k1: As for `search`.
            b: As for `search`.
        """
        analyzed = self._analyze(query)
        scores = np.zeros(len(positions), np.float32)
        for part in self._parts:
            inside = part.holds(positions)
            if inside.any():
                scores[inside] = scores_at(self._terms(part, analyzed, k1, b), part.rows(positions[inside]))
        return scores

    def _analyze_query(self, query: str) -> _Query:
        """Return the words of a query that occur, with their weights; `_analyze` remembers those of the last ones."""
        n_in_query = Counter(self.analyzer.words(query))
        hashes = hashes_of(list(n_in_query))
        frequencies = np.zeros(len(hashes), np.int64)
        for part in self._parts:
            frequencies += part.frequencies(part.postings.find(hashes))
        weights = np.log1p((self.n_passages - frequencies + 0.5) / (frequencies + 0.5)) * list(n_in_query.values())
        order = np.lexsort((hashes, -weights))
        order = order[frequencies[order] > 0]
        return _Query(hashes[order], weights[order].astype(np.float32))

    def _terms(self, part: LexicalPart, query: _Query, k1: float, b: float) -> Terms:
        """Return the words of a query with their postings in a part."""
        postings = part.postings
        numbers = postings.find(query.hashes).tolist()
        terms = [
            Term(float(weight), postings.passages(number), postings.counts(number))
            for number, weight in zip(numbers, query.weights, strict=True)
            if number >= 0
        ]
        return Terms.of(terms, postings.lengths, k1 * (1 - b), k1 * b / self._mean_length)
