"""Maximal marginal relevance: hits that are relevant and differ from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.retrieval.reranking.base import Candidates, Ranking

_EXPECTED = "expected mmr:TRADE_OFF or mmr:TRADE_OFF:CANDIDATES, such as mmr:0.7 or mmr:0.7:100"


@dataclass(frozen=True, kw_only=True)
class MaximalMarginalRelevance:
    """Greedy choice of hits, each by its relevance minus its similarity to the hits before it; a `Reranker`.

    A hit scores trade_off · sim(query, hit) - (1 - trade_off) · max sim(hit, earlier hit); the second term is 0 for the
    first. Both similarities are inner products of the stored vectors, which should be L2-normalised. Carbonell
    & Goldstein, The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries, SIGIR 1998.

    Args:
        trade_off: Weight of relevance (the paper's lambda), from 0 to 1; 1 keeps the order of the first stage.
        n_candidates: Number of candidates to rerank, at least 1.

    Raises:
        QueryError: A setting is out of range.
    """

    trade_off: float = 0.7
    n_candidates: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.trade_off <= 1:
            raise QueryError(f"got a trade-off of {self.trade_off}, {_EXPECTED}: the trade-off is from 0 to 1")
        if self.n_candidates < 1:
            raise QueryError(f"got {self.n_candidates} candidates, {_EXPECTED}: at least 1 candidate")

    @classmethod
    def parse(cls, settings: str) -> Self:
        """Return the reranker of a spelling's settings: `0.7`, `0.7:200`, or nothing for the defaults.

        Raises:
            QueryError: They are not numbers, or out of range.
        """
        trade_off, has_candidates, n_candidates = settings.partition(":")
        try:
            return cls(
                trade_off=float(trade_off) if trade_off else cls.trade_off,
                n_candidates=int(n_candidates) if has_candidates else cls.n_candidates,
            )
        except ValueError:
            raise QueryError(f"got reranker 'mmr:{settings}', {_EXPECTED}") from None

    def __str__(self) -> str:
        return f"mmr:{self.trade_off:g}:{self.n_candidates}"

    def check_index(self, index: PassageIndex) -> None:
        """Accept every index: the vectors are all that is needed."""

    def rerank(self, batch: Sequence[Candidates], k: int, index: PassageIndex) -> list[Ranking]:
        """Return the k best candidates of each query, or all if there are fewer."""
        return [self._rerank_one(candidates, index.vectors[candidates.positions], k) for candidates in batch]

    def _rerank_one(self, candidates: Candidates, vectors: Vectors, k: int) -> Ranking:
        """Rerank the candidates of one query.

        Args:
            candidates: The candidates.
            vectors: float32, (n, dim), of the candidates.
            k: How many to pick.
        """
        trade_off = np.float32(self.trade_off)
        marginal = trade_off * candidates.scores
        similarity = np.full(len(vectors), -np.inf, np.float32)  # to the most similar hit that is picked
        picked: list[int] = []
        scores: list[np.float32] = []
        for _ in range(min(k, len(vectors))):
            best = int(np.argmax(marginal))  # of equal ones, the better by the first stage
            picked.append(best)
            scores.append(marginal[best])
            similarity = np.maximum(similarity, vectors @ vectors[best])
            marginal = trade_off * candidates.scores - (1 - trade_off) * similarity
            marginal[picked] = -np.inf
        return Ranking(np.array(scores, np.float32), candidates.positions[picked])
