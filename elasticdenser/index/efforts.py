"""Search effort: how much of a structure is visited, and how many candidates are rescored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import faiss

from elasticdenser.errors import QueryError

_ENOUGH = 128
"""Candidates that 4-bit codes of four dimensions each need at least, for k = 10."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard a structure is searched.

    Args:
        rescored: Candidates for k = 10 whose exact scores are computed from the vectors.
        nprobe: Lists visited by an inverted file, else None.
        ef_search: Breadth of a graph search, else None.
        recall_at_10: Against exact search, as it was measured when the structure was made.
        part: Which of the structure's FAISS indexes is searched.
    """

    rescored: int
    nprobe: int | None = None
    ef_search: int | None = None
    recall_at_10: float = 0.0
    part: int = 0

    def n_rescored(self, k: int) -> int:
        """Return for how many candidates exact scores are computed when `k` hits are wanted.

        The surplus over k that quantisation needs grows somewhat slower than k.
        """
        surplus = max(self.rescored - 10, 0)
        return k + int(surplus * (max(k, 10) / 10) ** 0.75)

    def __str__(self) -> str:
        settings = {"nprobe": self.nprobe, "ef": self.ef_search, "rescored": self.rescored}
        return ", ".join(f"{name} {value}" for name, value in settings.items() if value)


def pick(efforts: Sequence[Effort], recall: float | None) -> int:
    """Return the number of the least effort that reaches a recall@10, or of the greatest if none does or None is given.

    Args:
        efforts: Rising.
        recall: Above 0, at most 1.

    Raises:
        QueryError: The recall is out of range.
    """
    if recall is None:
        return len(efforts) - 1
    if isinstance(recall, bool) or not isinstance(recall, int | float) or not 0 < recall <= 1:
        raise QueryError(f"got recall = {recall!r}; expected a share above 0 and at most 1, such as 0.98")
    reached = (number for number, effort in enumerate(efforts) if effort.recall_at_10 >= recall)
    return next(reached, len(efforts) - 1)


def possible_efforts(indexes: Sequence[Any | None]) -> list[Effort]:
    """Return efforts to try on FAISS indexes, of which None is a scan of the vectors, rising.

    The first index is for little effort: of several, a quarter of its lists is searched at most, as half of them take
    longer than all codes in one piece.
    """
    first, *others = indexes
    efforts = _efforts_of(first)
    if others and efforts[-1].nprobe:
        efforts = [effort for effort in efforts if 4 * (effort.nprobe or 0) <= efforts[-1].nprobe]
    for part, index in enumerate(others, 1):
        efforts += [replace(effort, part=part) for effort in _efforts_of(index) if effort.rescored >= _ENOUGH]
    return efforts


def _efforts_of(index: Any | None) -> list[Effort]:
    """Return efforts to try on one index; more lists need more candidates, as those farther away rank lower."""
    if index is None:
        return [Effort(rescored=_ENOUGH)]
    inner = _innermost(index)
    if isinstance(inner, faiss.IndexIVF | faiss.IndexIVFFastScan):
        probes = sorted({max(1, inner.nlist >> halvings) for halvings in range(1, 9)})
        efforts = [
            Effort(nprobe=probe, rescored=_ENOUGH if 16 * probe <= inner.nlist else 2 * _ENOUGH) for probe in probes
        ]
        return [*efforts, *(Effort(nprobe=inner.nlist, rescored=rescored) for rescored in (512, 1024))]
    if isinstance(inner, faiss.IndexHNSW):
        return [Effort(ef_search=breadth, rescored=32) for breadth in (16, 32, 64, 128, 256, 512)]
    return [Effort(rescored=rescored) for rescored in (16, 32, 64, 128, 256, 384, 512, 768, 1024)]


def search_parameters(index: Any, effort: Effort) -> Any | None:
    """Return what FAISS's `search` takes as `params` to search with an effort; None where it has no choice."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = search_parameters(index.index, effort)
        if inner is None:
            return None
        return faiss.SearchParametersPreTransform(index_params=inner)  # type: ignore[call-arg]
    if isinstance(index, faiss.IndexRefine):
        inner = search_parameters(index.base_index, effort)
        if inner is None:
            return None
        of_scan = {"k_factor": index.k_factor, "base_index_params": inner}
        return faiss.IndexRefineSearchParameters(**of_scan)
    if effort.nprobe is not None:
        return faiss.SearchParametersIVF(nprobe=effort.nprobe)  # type: ignore[call-arg]
    if effort.ef_search is not None:
        return faiss.SearchParametersHNSW(efSearch=effort.ef_search)  # type: ignore[attr-defined]
    return None


def _innermost(index: Any) -> Any:
    """Return the index inside rotations and refinements, which is the one that has a search effort."""
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        index = faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index)
    return index
