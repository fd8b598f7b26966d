"""Hybrid search: by meaning and by words at once.

Vectors and words propose candidates. Each candidate gets both of its exact scores, also if only one side proposed it;
both are scaled to a common range, and their weighted sum decides (a convex combination: Bruch, Gai & Ingber, An
Analysis of Fusion Functions for Hybrid Retrieval, ACM TOIS 2023). Instead of the lowest possible score, which not every
encoder has, the score of a passage drawn at random becomes 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from elasticdenser.arrays import Floats, Positions, Scores, Vectors
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.lexical import LexicalSearch
from elasticdenser.index.rescoring import rescore

DEFAULT_WEIGHT = 0.2
"""Weight of words: at least as good as meaning alone on all sets that were tried; see docs/results.md."""

N_CANDIDATES = 50
"""Hits of each side that are fused, or k if that is more: up to this, fewer hits are the first ones of more, but for
what a search structure misses."""

Hybrid = bool | float | None
"""True is the default weight of words, a number from 0 to 1 a weight, False no search by words, None the default."""


@dataclass(frozen=True, kw_only=True)
class FusionCandidates:
    """Candidates of one query, by rising position.

    Attributes:
        positions: int64, (n,).
        by_meaning: float32, (n,), scaled scores of the vectors.
        by_words: float32, (n,), scaled scores of the words.
    """

    positions: Positions
    by_meaning: Floats
    by_words: Floats

    def best(self, weight: float, k: int) -> tuple[Scores, Positions]:
        """Return the k best candidates, or all if there are fewer; ties by rising position.

        Args:
            weight: Weight of words, from 0 to 1; that of meaning is the rest.
            k: At least 1.
        """
        scores = np.float32(1 - weight) * self.by_meaning + np.float32(weight) * self.by_words
        order = np.argsort(-scores, kind="stable")[:k]
        return scores[order], self.positions[order]


def weight_of(hybrid: Hybrid) -> float | None:
    """Return the weight of words that a user asks for; None for search by meaning alone.

    Raises:
        QueryError: It is not a number from 0 to 1.
    """
    if hybrid is None or hybrid is False:
        return None
    if hybrid is True:
        return DEFAULT_WEIGHT
    is_number = isinstance(hybrid, int | float | np.integer | np.floating)
    if not is_number or not (math.isfinite(hybrid) and 0 <= hybrid <= 1):
        raise QueryError(
            f"got hybrid = {hybrid!r}, expected True, False, or the weight of words from 0 to 1, such as 0.2"
        )
    return float(hybrid)


def words_of(index: PassageIndex, *, instead: str = ", or search without --hybrid") -> LexicalSearch:
    """Return the search by words of an index.

    Args:
        index: The index.
        instead: Another way out, for the message; empty where there is none.

    Raises:
        QueryError: It was built without postings.
    """
    if index.lexical is None:
        again = f"elasticdenser rebuild {index.path} --hybrid"
        is_sharded = index.contents.sharded is not None
        remedy = "build it again with --hybrid and --overwrite" if is_sharded else f"add them with `{again}`"
        raise QueryError(f"{index.path} cannot be searched by words: {remedy}{instead}")
    return index.lexical


def search_hybrid(
    index: PassageIndex,
    texts: Sequence[str],
    vectors: Vectors,
    k: int,
    *,
    weight: float,
    within: Positions | None = None,
    exact: bool = False,
    recall: float | None = None,
) -> tuple[Scores, Positions]:
    """Return the best hits by meaning and words together.

    Args:
        index: The index; it must have postings.
        texts: The queries.
        vectors: float32, (n_queries, dim), of the queries.
        k: Hits for each query, at least 1.
        weight: Weight of words, from 0 to 1.
        within: As for `PassageIndex.search`, as are `exact` and `recall`, which concern the vectors alone.
        exact: Scan all vectors.
        recall: Effort of the search by vectors.

    Returns:
        Scores, float32, and positions, int64, both (n_queries, n), n <= k, best first; -1 for none. 1 is the score of a
        passage that is the best both by meaning and by words, 0 about that of a passage drawn at random.
    """
    candidates = list(fusion_candidates(index, texts, vectors, k, within=within, exact=exact, recall=recall))
    width = min(k, max((len(row.positions) for row in candidates), default=0))
    scores = np.full((len(candidates), width), -np.inf, np.float32)
    positions = np.full((len(candidates), width), -1, np.int64)
    for row, of_query in enumerate(candidates):
        best_scores, best_positions = of_query.best(weight, k)
        scores[row, : len(best_scores)], positions[row, : len(best_scores)] = best_scores, best_positions
    return scores, positions


def fusion_candidates(
    index: PassageIndex,
    texts: Sequence[str],
    vectors: Vectors,
    k: int,
    *,
    within: Positions | None = None,
    exact: bool = False,
    recall: float | None = None,
) -> Iterator[FusionCandidates]:
    """Yield the candidates of each query; the arguments are those of `search_hybrid`."""
    lexical, n_candidates = words_of(index), max(k, N_CANDIDATES)
    spare = n_candidates - k  # the first k matter most, and scores of the others are at hand
    scores, positions = index.search(vectors, k, within=within, exact=exact, recall=recall, spare=spare)
    allowed = None
    if within is not None:
        allowed = np.zeros(len(index), bool)
        allowed[within] = True
    for text, vector, row_scores, row_positions in zip(texts, vectors, scores, positions, strict=True):
        is_hit = row_positions >= 0
        dense_scores, dense_positions = row_scores[is_hit], row_positions[is_hit]
        word_scores, word_positions, words_of_dense = lexical.search_and_score(
            text, n_candidates, dense_positions, allowed=allowed
        )
        together = np.union1d(dense_positions, word_positions)
        places, word_places = np.searchsorted(together, dense_positions), np.searchsorted(together, word_positions)
        by_meaning, by_words = np.empty(len(together), np.float32), np.empty(len(together), np.float32)
        by_words[places], by_words[word_places] = words_of_dense, word_scores
        only_words = np.ones(len(together), bool)
        by_meaning[places], only_words[places] = dense_scores, False
        if only_words.any():
            by_meaning[only_words] = _inner_products(index, vector, together[only_words])
        yield FusionCandidates(
            positions=together,
            by_meaning=_scaled(by_meaning, dense_scores, float(vector @ index.mean_vector)),
            by_words=_scaled(by_words, word_scores, 0.0),
        )


def _inner_products(index: PassageIndex, vector: Floats, positions: Positions) -> Scores:
    """Return the scores of passages, float32, (n,), equal to those of `PassageIndex.search`."""
    n = len(positions)
    rescored = rescore(vector[None], np.arange(n)[None], np.ascontiguousarray(index.vectors[positions]), n)
    scores = np.empty(n, np.float32)
    scores[rescored.positions[0]] = rescored.scores[0]
    return scores


def _scaled(scores: Scores, best_first: Scores, expected: float) -> Floats:
    """Map scores such that the best of a side becomes 1, and that of a passage drawn at random 0.

    Unlike the lowest of the candidates, the latter does not depend on how many there are.

    Args:
        scores: float32, (n,).
        best_first: float32, (m,), scores of the hits of this side.
        expected: Score of a passage drawn at random.
    """
    if not len(best_first):
        return np.zeros(len(scores), np.float32)
    span = best_first[0] - np.float32(expected)
    if span <= 0:  # nothing is better than any passage
        is_best: Floats = (scores >= best_first[0]).astype(np.float32)
        return is_best
    scaled: Floats = (scores - np.float32(expected)) / span
    return scaled
