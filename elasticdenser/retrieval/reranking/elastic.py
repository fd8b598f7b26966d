"""Reranking by an elastic ranker, which reads the query and each candidate together, in one or several stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Self

import numpy as np

from elasticdenser.arrays import Positions, Scores
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.rankers import AnyRanker, Stage, load_shipped_ranker
from elasticdenser.rankers.stages import check_stages, rank_in_stages
from elasticdenser.retrieval.reranking.base import Candidates, Ranking
from elasticdenser.retrieval.scores import strictly_decreasing
from elasticdenser.subnet import Subnet

_EXPECTED = "expected N[:SUBNET][,N:SUBNET...][+WEIGHT], such as 50, 50:w0.5-d3 or 100:w0.25-d1,30:w0.5-d3"


@dataclass(frozen=True)
class ElasticReranker:
    """Second stage by an elastic ranker; a `Reranker`.

    A candidate scores what the ranker gives it, plus `first_stage_weight` times its score of the first stage (a
    weighted sum, as in Bruch, Gai & Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, TOIS 2023).

    Args:
        ranker: The ranker.
        n_candidates: Number of candidates to rerank; with 0 nothing is reranked.
        subnet: Subnet of the ranker, such as `w0.5-d3`; None is the largest.
        then: Further stages: each ranks the best candidates of the stage before again, by another subnet.
        first_stage_weight: Weight of the first stage's scores, from 0; None is that in the ranker's manifest.

    Attributes:
        names_subnets: Whether some stage was given a subnet, and did not get the largest because it had none.

    Raises:
        QueryError: A setting is out of range, or the ranker has no such subnet.
    """

    ranker: AnyRanker
    _: KW_ONLY
    n_candidates: int = 50
    subnet: str | Subnet | None = None
    then: tuple[Stage, ...] = ()
    first_stage_weight: float | None = None
    names_subnets: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names_subnets = any(stage.subnet is not None for stage in self.then) or self.subnet is not None
        object.__setattr__(self, "names_subnets", names_subnets)
        resolve = self.ranker.resolve_subnet
        first, *others = (
            Stage(stage.n_candidates, resolve(stage.subnet))
            for stage in (Stage(self.n_candidates, resolve(self.subnet)), *self.then)
        )
        check_stages([first, *others])
        object.__setattr__(self, "subnet", first.subnet)
        object.__setattr__(self, "then", tuple(others))
        if self.first_stage_weight is None:
            object.__setattr__(self, "first_stage_weight", self.ranker.first_stage_weight)
        if not 0 <= self._weight < math.inf:
            raise QueryError(f"got a first-stage weight of {self._weight}, expected a number from 0")

    @classmethod
    def parse(cls, settings: str, ranker: AnyRanker | None = None) -> Self:
        """Return the reranker of a spelling's settings.

        Args:
            settings: `50`, `50:w0.5-d3`, `100:w0.25-d1,30:w0.5-d3` for two stages, each with `+0.2` for a first-stage
                weight of 0.2; or nothing for the defaults.
            ranker: The ranker; None is the one that comes with this package.

        Raises:
            QueryError: The spelling has another form, or a setting is out of range.
            ModelError: No ranker is given, and the package comes with none.
        """
        spelled_stages, has_weight, spelled_weight = settings.partition("+")
        try:
            stages = [_parse_stage(spelling) for spelling in spelled_stages.split(",")] if spelled_stages else []
            weight = float(spelled_weight) if has_weight else None
        except ValueError:
            raise QueryError(f"got reranker 'elastic:{settings}', {_EXPECTED}") from None
        ranker = ranker or load_shipped_ranker()
        if not stages:
            return cls(ranker, first_stage_weight=weight)
        first, *others = stages
        return cls(
            ranker,
            n_candidates=first.n_candidates,
            subnet=first.subnet,
            then=tuple(others),
            first_stage_weight=weight,
        )

    def __str__(self) -> str:
        weight = "" if self._weight == self.ranker.first_stage_weight else f"+{self._weight:g}"
        return f"elastic:{','.join(map(str, self.stages))}{weight}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, each with its subnet."""
        return Stage(self.n_candidates, self.ranker.resolve_subnet(self.subnet)), *self.then

    @property
    def _weight(self) -> float:
        return self.first_stage_weight or 0.0

    def check_index(self, index: PassageIndex) -> None:
        """Refuse an index without texts.

        Raises:
            QueryError: The index was built without texts.
        """
        if not index.has_texts and self.n_candidates:
            raise QueryError(
                f"{index.path} holds no texts, which the reranker {self} reads: build the index without --no-texts"
            )

    def rerank(self, batch: Sequence[Candidates], k: int, index: PassageIndex) -> list[Ranking]:
        """Return the k best candidates of each query, or all if there are fewer."""
        return [self._rerank_one(candidates, k, index) for candidates in batch]

    def _rerank_one(self, candidates: Candidates, k: int, index: PassageIndex) -> Ranking:
        texts = [index.passage_at(position).content for position in candidates.positions.tolist()]
        scores, order = self.rank_texts(candidates.text, texts, candidates.scores)
        return Ranking(scores[:k], candidates.positions[order[:k]])

    def rank_texts(self, query: str, texts: Sequence[str], first_scores: Scores) -> Ranking:
        """Rank texts, all of them in the first stage.

        Args:
            query: The query; it must hold more than white space.
            texts: Passages, each with its title, a space and its text.
            first_scores: float32, (n_texts,), of the stage before.

        Returns:
            Scores, strictly falling, and positions in `texts`, all of them.
        """
        pairs = self.ranker.pairs(query, texts)
        weighted = np.float32(self._weight) * first_scores.astype(np.float32)

        def score(numbers: Positions, subnet: Subnet | None) -> Scores:
            resolved = self.ranker.resolve_subnet(subnet)
            return self.ranker.score_pairs([pairs[number] for number in numbers], resolved) + weighted[numbers]

        scores, order = rank_in_stages(self.stages, len(texts), score)
        return Ranking(strictly_decreasing(scores), order)


def _parse_stage(spelling: str) -> Stage:
    """Return the stage of `50` or `50:w0.5-d3`.

    Raises:
        ValueError: The number is no whole number.
        QueryError: The subnet has another form.
    """
    n_candidates, has_subnet, subnet = spelling.partition(":")
    return Stage(int(n_candidates), Subnet.parse(subnet) if has_subnet else None)
