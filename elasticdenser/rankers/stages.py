"""Stages of a cascade: many candidates ranked by a small subnet, the best of them by a larger one, and so on.

Wang, Lin & Metzler, A Cascade Ranking Model for Efficient Ranked Retrieval, SIGIR 2011.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from elasticdenser.arrays import Positions, Scores
from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage of a cascade.

    Args:
        n_candidates: Number of candidates that it ranks again.
        subnet: Subnet of the ranker; None is the largest.

    Raises:
        QueryError: The number is negative.
    """

    n_candidates: int
    subnet: Subnet | None = None

    def __post_init__(self) -> None:
        if isinstance(self.n_candidates, bool) or not isinstance(self.n_candidates, int) or self.n_candidates < 0:
            raise QueryError(f"got {self.n_candidates!r} candidates, expected a whole number from 0")

    def __str__(self) -> str:
        return str(self.n_candidates) if self.subnet is None else f"{self.n_candidates}:{self.subnet}"


def check_stages(stages: Sequence[Stage]) -> None:
    """Refuse a stage that does not rank fewer candidates than the stage before it, or none.

    Raises:
        QueryError: There is such a stage.
    """
    for before, stage in pairwise(stages):
        if not 0 < stage.n_candidates < before.n_candidates:
            raise QueryError(
                f"got a stage of {stage.n_candidates} candidates after one of {before.n_candidates}, expected each "
                "stage to rank fewer candidates than the one before, such as 100:w0.25-d1,30:w0.5-d3"
            )


def rank_in_stages(
    stages: Sequence[Stage], n: int, score: Callable[[Positions, Subnet | None], Scores]
) -> tuple[Scores, Positions]:
    """Rank candidates by each stage in turn.

    Candidates that a stage does not take on keep the order of the stage before, below those that it does. Their scores
    are lowered by one amount for all of them, as scores of different subnets are not comparable.

    Args:
        stages: At least one, each with fewer candidates than the one before.
        n: Number of candidates, in the order of the first stage; all are ranked by the first stage of the cascade.
        score: Takes numbers of candidates, int64, (m,), and a subnet; returns float32, (m,), finite.

    Returns:
        Scores, float32, never rising, and numbers of the candidates, int64; both (n,).
    """
    order = np.arange(n)
    scores = np.zeros(n, np.float32)
    for number, stage in enumerate(stages):
        n_ranked = stage.n_candidates if number else n
        head, tail = order[:n_ranked], scores[n_ranked:]
        if not len(head):
            break
        new = score(head, stage.subnet)
        best = np.argsort(-new, kind="stable")  # of equal ones, the better by the stage before
        if len(tail):
            tail = tail + np.minimum(np.float32(0), new[best[-1]] - tail[0])
        order = np.concatenate([head[best], order[n_ranked:]])
        scores = np.concatenate([new[best], tail])
    return scores, order
