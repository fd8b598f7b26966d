"""Escalation: a second search, by a larger subnet, for the queries whose best hits are hard to tell apart.

If the first hit stands out, every subnet finds it; if the best hits score nearly alike, a small error of the query's
vector changes their order. So the margin between the scores of the first hit and the tenth tells which queries a small
subnet answers badly; `eval/bench/gates.py` measures it, beside other signs. The idea of leaving a model as soon as its
answer is certain is that of early exits, such as COST-EFF's (Shen et al. 2022); the answer of an encoder is a ranking.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder

N_COMPARED = 10
"""The hit that the first one is compared with; a search for fewer hits looks for as many."""

Search = Callable[[list[str], Vectors], tuple[Scores, Positions]]
"""Takes queries and their vectors, float32, (n_queries, dim); returns scores and positions, (n_queries, n), best first.
"""


class Retrieved(NamedTuple):
    """Hits of a batch of queries, before they are reranked.

    Attributes:
        vectors: float32, (n_queries, dim): vectors of the queries.
        scores: float32, (n_queries, n), best first.
        positions: int64, (n_queries, n), -1 for none.
        subnets: The subnet that encoded each query.
    """

    vectors: Vectors
    scores: Scores
    positions: Positions
    subnets: list[Subnet]


@dataclass(frozen=True)
class Escalation:
    """Which queries are encoded and searched again, and by which subnet.

    Args:
        margin: A query escalates if the score of its first hit is less than this above that of the tenth.
        subnet: The larger subnet.

    Raises:
        QueryError: The margin is not a number above 0.
    """

    margin: float
    subnet: Subnet

    def __post_init__(self) -> None:
        if not 0 < self.margin < math.inf:
            raise QueryError(f"got the margin {self.margin}; expected a difference of scores above 0, such as 0.08")

    @classmethod
    def parse(cls, spelling: str | Escalation, encoder: ElasticQueryEncoder) -> Escalation:
        """Return an escalation of its spelling, such as `0.08:w1-d6`.

        Raises:
            QueryError: It is spelled otherwise, or the encoder has no such subnet.
        """
        if isinstance(spelling, Escalation):
            encoder.resolve_subnet(spelling.subnet)
            return spelling
        margin, _, subnet = spelling.partition(":") if isinstance(spelling, str) else ("", "", "")
        try:
            number = float(margin)
        except ValueError:
            number = math.nan
        if not subnet or math.isnan(number):
            raise QueryError(f"got the escalation {spelling!r}; expected MARGIN:SUBNET, such as 0.08:w1-d6")
        return cls(number, encoder.resolve_subnet(subnet))

    def __str__(self) -> str:
        return f"{self.margin}:{self.subnet}"


def margins(scores: Scores, positions: Positions) -> NDArray[np.float32]:
    """Return by how much the first hit of each query scores above the tenth, or above the last if there are fewer.

    Args:
        scores: float32, (n_queries, n), best first.
        positions: int64, (n_queries, n), -1 for none.

    Returns:
        float32, (n_queries,); infinity for a query with less than two hits, which has nothing to tell apart.
    """
    n_hits = (positions[:, :N_COMPARED] >= 0).sum(axis=1)
    found = np.full(len(scores), np.inf, np.float32)
    rows = np.flatnonzero(n_hits > 1)
    if len(rows):
        found[rows] = scores[rows, 0] - scores[rows, n_hits[rows] - 1]
    return found


def retrieve(
    encoder: ElasticQueryEncoder, subnet: Subnet, search: Search, texts: list[str], escalation: Escalation | None
) -> Retrieved:
    """Encode and search a batch of queries, and again those that escalate.

    Args:
        encoder: The encoder.
        subnet: Subnet that encodes all queries.
        search: Searches for the encoded queries.
        texts: The queries.
        escalation: Which queries escalate; None, or one to the same subnet, is none of them.
    """
    vectors = encoder.encode(texts, subnet)
    first = Retrieved(vectors, *search(texts, vectors), [subnet] * len(texts))
    if escalation is None or escalation.subnet == subnet:
        return first
    rows = np.flatnonzero(margins(first.scores, first.positions) < escalation.margin)
    if not len(rows):
        return first
    chosen = [texts[row] for row in rows]
    vectors = encoder.encode(chosen, escalation.subnet)
    return _replaced(first, rows, Retrieved(vectors, *search(chosen, vectors), [escalation.subnet] * len(rows)))


def _replaced(first: Retrieved, rows: NDArray[np.intp], second: Retrieved) -> Retrieved:
    """Return what a batch retrieved, some rows of it replaced; the number of columns of the two may differ."""
    n = max(first.scores.shape[1], second.scores.shape[1])
    n_queries = len(first.scores)
    scores, positions = np.full((n_queries, n), -np.inf, np.float32), np.full((n_queries, n), -1, np.int64)
    vectors, subnets = first.vectors.copy(), list(first.subnets)
    for at, part in ((np.arange(n_queries), first), (rows, second)):
        scores[at], positions[at] = -np.inf, -1
        scores[at, : part.scores.shape[1]], positions[at, : part.scores.shape[1]] = part.scores, part.positions
    vectors[rows] = second.vectors
    for row, subnet in zip(rows.tolist(), second.subnets, strict=True):
        subnets[row] = subnet
    return Retrieved(vectors, scores, positions, subnets)
