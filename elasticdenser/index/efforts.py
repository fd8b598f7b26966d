"""Search effort: how much of a search structure is visited, and how many candidates are scored exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from elasticdenser.errors import QueryError

_MEASURED_K = 10
"""The k at which efforts are measured when a structure is built; see `structures.measuring`."""

_MAX_SETTING = 1 << 30
"""FAISS reads larger settings as negative numbers."""

_SURPLUS_EXPONENT = 0.75
"""Heuristic for other k, at which recall is not measured: the surplus of candidates grows with k, but more slowly."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Settings of a search in a structure: more effort finds more of the true hits and takes longer.

    Args:
        rescored: Candidates whose exact scores are computed from the stored vectors, for k = 10.
        nprobe: Lists of an inverted file that are visited; None for other structures.
        ef_search: Breadth of the search in a graph; None for other structures.
        recall_at_10: Recall against exact search, as measured when the structure was built.
        part: Index of the part that is searched, in a structure of several parts.
    """

    rescored: Annotated[int, msgspec.Meta(ge=0, le=_MAX_SETTING)]
    nprobe: Annotated[int, msgspec.Meta(ge=1, le=_MAX_SETTING)] | None = None
    ef_search: Annotated[int, msgspec.Meta(ge=1, le=_MAX_SETTING)] | None = None
    recall_at_10: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    part: Annotated[int, msgspec.Meta(ge=0)] = 0

    def n_candidates(self, k: int) -> int:
        """Return the number of candidates to score exactly in order to find `k` hits."""
        surplus = max(self.rescored - _MEASURED_K, 0)
        return k + int(surplus * (max(k, _MEASURED_K) / _MEASURED_K) ** _SURPLUS_EXPONENT)

    def __str__(self) -> str:
        settings = {"nprobe": self.nprobe, "ef": self.ef_search, "rescored": self.rescored}
        return ", ".join(f"{name} {value}" for name, value in settings.items() if value)


def select_effort(efforts: Sequence[Effort], recall: float | None) -> int:
    """Return the index of the least effort that reaches a recall@10, or of the greatest effort if none does.

    Args:
        efforts: In rising order.
        recall: Above 0, at most 1; None selects the greatest effort.

    Raises:
        QueryError: The recall is out of range.
    """
    if recall is None:
        return len(efforts) - 1
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
        raise QueryError(f"got recall = {recall!r}, expected a number above 0 and at most 1, such as 0.98")
    sufficient = (index for index, effort in enumerate(efforts) if effort.recall_at_10 >= recall)
    return next(sufficient, len(efforts) - 1)
