"""The forms of rerankers, and their spellings: `mmr:0.7`."""

from __future__ import annotations

from collections.abc import Callable

from elasticdenser.errors import QueryError
from elasticdenser.retrieval.reranking.base import Reranker
from elasticdenser.retrieval.reranking.mmr import MaximalMarginalRelevance

RERANKERS: dict[str, Callable[[str], Reranker]] = {
    "mmr": MaximalMarginalRelevance.parse,
}
"""By the first part of a spelling: a function that makes the reranker of the rest, after the first colon."""

NO_RERANKER = "none"
"""The spelling that turns a retriever's own reranker off."""


def make_reranker(spelling: str) -> Reranker | None:
    """Return the reranker that `spelling` names, such as `mmr:0.7`; None for `none`.

    Raises:
        QueryError: There is no such reranker, or its settings are out of range.
    """
    if spelling == NO_RERANKER:
        return None
    name, _, settings = spelling.partition(":")
    if name not in RERANKERS:
        known = ", ".join((*RERANKERS, NO_RERANKER))
        raise QueryError(f"got reranker {spelling!r}, expected one of {known}, with settings such as mmr:0.7")
    return RERANKERS[name](settings)
