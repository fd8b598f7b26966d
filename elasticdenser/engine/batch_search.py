"""What the engine needs of a retriever, and how the package's own retriever gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from elasticdenser.engine.request import Query

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Hit, Retriever


@runtime_checkable
class BatchSearch(Protocol):
    """Encodes and searches; called from several threads at once, at rest from those that call `RetrievalEngine.ask`."""

    def search_batch(self, queries: Sequence[Query], level: str) -> Sequence[Sequence[Any]]:
        """Return the hits of each query, best first, at most its `k`.

        Args:
            queries: The queries.
            level: Name of the level to answer at.
        """


class RetrieverSearch:
    """Searches in batches with a `Retriever`; levels are named as its encoder's sizes.

    Args:
        retriever: The retriever.
        recalls: For each level that will be asked for its search effort, as `Retriever.search` takes it.

    Raises:
        QueryError: The encoder lacks one of them.
    """

    def __init__(self, retriever: Retriever, recalls: Mapping[str, float | None]) -> None:
        self._retriever = retriever
        self._levels = {level: (retriever.encoder.resolve_subnet(level), recall) for level, recall in recalls.items()}

    def search_batch(self, queries: Sequence[Query], level: str) -> list[list[Hit]]:
        """Return the hits of each query, best first, at most its `k`."""
        found: list[list[Hit]] = [[] for _ in queries]
        # Those that search the same documents go together; the k best are the first of any more.
        groups: dict[frozenset[str] | None, list[int]] = {}
        for number, query in enumerate(queries):
            groups.setdefault(query.doc_ids, []).append(number)
        subnet, recall = self._levels[level]
        for doc_ids, numbers in groups.items():
            texts = {str(number): queries[number].text for number in numbers}
            k = max(queries[number].k for number in numbers)
            for hit in self._retriever.search(texts, k, subnet=subnet, doc_ids=doc_ids, recall=recall):
                found[int(hit.query_id)].append(hit)
        return [hits[: query.k] for hits, query in zip(found, queries, strict=True)]
