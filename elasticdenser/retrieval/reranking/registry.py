"""Registry of the forms of rerankers, and their spellings, such as `mmr:0.7` and `elastic:50:w0.5-d3`."""

from __future__ import annotations

from collections.abc import Callable

from elasticdenser.errors import QueryError
from elasticdenser.rankers import AnyRanker
from elasticdenser.retrieval.reranking.base import Reranker
from elasticdenser.retrieval.reranking.elastic import ElasticReranker
from elasticdenser.retrieval.reranking.mmr import MaximalMarginalRelevance

ELASTIC = "elastic"
"""Name of the reranker that needs a ranker; a spelling that begins with a digit is one of its own."""

RERANKERS: dict[str, Callable[[str], Reranker]] = {
    ELASTIC: ElasticReranker.parse,
    "mmr": MaximalMarginalRelevance.parse,
}
"""Name -> function that makes a reranker from the rest of its spelling, after the first colon."""

NO_RERANKER = "none"
"""The spelling that turns a retriever's own reranker off."""


def needs_ranker(reranker: Reranker | str | None) -> bool:
    """Return whether a spelling is one of a reranker that needs a ranker."""
    return isinstance(reranker, str) and (reranker[:1].isdecimal() or reranker.partition(":")[0] == ELASTIC)


def make_reranker(spelling: str, ranker: AnyRanker | None = None) -> Reranker | None:
    """Return the reranker that `spelling` names; None for `none`.

    Args:
        spelling: Such as `mmr:0.7`, `elastic:50:w0.5-d3`, or in short `50:w0.5-d3`.
        ranker: Ranker of the form `elastic`; None is the one that comes with this package.

    Raises:
        QueryError: There is no such reranker, or its settings are out of range.
        ModelError: The form is `elastic`, no ranker is given, and the package comes with none.
    """
    if spelling == NO_RERANKER:
        return None
    if spelling[:1].isdecimal():
        spelling = f"{ELASTIC}:{spelling}"
    name, _, settings = spelling.partition(":")
    if name not in RERANKERS:
        known = ", ".join((*RERANKERS, NO_RERANKER))
        raise QueryError(
            f"got reranker {spelling!r}, expected one of {known}, with settings such as mmr:0.7; or a number of "
            "candidates, such as 50"
        )
    return ElasticReranker.parse(settings, ranker) if name == ELASTIC else RERANKERS[name](settings)
