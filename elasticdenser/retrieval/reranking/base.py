"""Protocol of a reranker, with its input and output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from elasticdenser.arrays import Floats, Positions, Scores
from elasticdenser.index import PassageIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Query with its best passages by the first stage.

    Args:
        text: The query as it was given.
        vector: float32, (dim,), the query's vector by the subnet that answered.
        scores: float32, (n,), inner products, best first.
        positions: int64, (n,), positions in the index.
    """

    text: str
    vector: Floats
    scores: Scores
    positions: Positions


class Ranking(NamedTuple):
    """Best passages of a query in their new order.

    Attributes:
        scores: float32, (n,), finite, best first; on any scale.
        positions: int64, (n,), some of the candidates' positions, each once.
    """

    scores: Scores
    positions: Positions


@runtime_checkable
class Reranker(Protocol):
    """Second stage that reorders the best candidates of a query; safe to use from several threads.

    A reranker is immutable. To change a setting for one call (the number of candidates, the subnet of a model), make
    another object that shares the model, for example by `dataclasses.replace`, and pass it to
    `Retriever.search(reranker=...)`. `str` of a reranker is its spelling.
    """

    @property
    def n_candidates(self) -> int:
        """Number of candidates of a query to rerank, from 0; hits beyond them keep the order of the first stage."""

    def check_index(self, index: PassageIndex) -> None:
        """Raise a QueryError if the index lacks something that is needed, such as the texts of its passages."""

    def rerank(self, batch: Sequence[Candidates], k: int, index: PassageIndex) -> Sequence[Ranking]:
        """Return the k best candidates of each query, or all if there are fewer.

        A ranking must depend neither on the other queries of the batch nor on k: that of a smaller k is the beginning
        of that of a larger one.

        Args:
            batch: Queries and their candidates, `n_candidates` each at most.
            k: At least 1.
            index: The passages: `index.vectors[positions]`, and `index.passage_at(position)` for the texts.
        """
