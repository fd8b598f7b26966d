"""Search in batches: the interface that the engine needs, and its implementation with a `Retriever`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from elasticdenser.engine.profiling.level_name import parse_level_name
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError
from elasticdenser.index.coverage import collected_coverage

if TYPE_CHECKING:
    from elasticdenser.retrieval.hits import Hit
    from elasticdenser.retrieval.reranking import ElasticReranker
    from elasticdenser.retrieval.retriever import Retriever

Hits = Sequence[Any]
"""Hits of one query, best first."""


class PartialHits(list[Any]):
    """Hits of one query over a part of the index only, because the rest could not be reached in time.

    Args:
        hits: The hits, best first.
        coverage: Share of the passages that were searched.
    """

    def __init__(self, hits: Iterable[Any], coverage: float) -> None:
        super().__init__(hits)
        self.coverage = coverage


@runtime_checkable
class BatchSearch(Protocol):
    """Encodes and searches batches of queries; called from several threads at once.

    Inherit from it: then `search_batch` is the only method to write.

    Attributes:
        is_asynchronous: Whether `start_batch` returns while another process computes.
    """

    is_asynchronous: bool = False

    @abstractmethod
    def search_batch(self, queries: Sequence[Query], level: str) -> Collection[Hits]:
        """Search in the calling thread.

        Args:
            queries: The queries.
            level: Name of the level.

        Returns:
            The hits of each query, best first, at most its `k`; `PartialHits` where not all passages were searched.

        Raises:
            QueryError: A query cannot be searched. The engine then searches the queries of the batch one by one.
        """

    def count_tokens(self, text: str) -> int | None:
        """Return the number of tokens of a query, special tokens included; None, the default, if it is not known.

        It is called in the threads of clients, if a level's quality or run time depends on it; see `Level.quality_for`
        and `Level.extra_s`.
        """
        return None

    def shorten(self, text: str) -> str:
        """Return a query with the same hits, which is much shorter if the query is long; by default the query itself.

        It is called in the threads of clients. To read megabytes could take a worker longer than a batch may take.
        """
        return text

    def start_batch(self, queries: Sequence[Query], level: str) -> Callable[[], Collection[Hits]]:
        """Start a search, and return a function that waits for its hits.

        The caller must call this function exactly once. By default it searches in the thread that calls it. The
        arguments, the result and the errors are those of `search_batch`.
        """
        return partial(self.search_batch, queries, level)


class RetrieverSearch(BatchSearch):
    """Searches with a `Retriever`, at levels of the names that `parse_level_name` takes apart.

    Args:
        retriever: The retriever.
        recalls: Search effort of each level that will be used, as `Retriever.search` takes it.

    Raises:
        QueryError: The encoder or the ranker lacks a subnet of one of the levels, or a level reranks and the index has
            no texts.
        ModelError: A level reranks and there is no ranker.
    """

    def __init__(self, retriever: Retriever, recalls: Mapping[str, float | None]) -> None:
        self._retriever = retriever
        self._levels = {
            level: {**options_of_level(retriever, level), "recall": recall} for level, recall in recalls.items()
        }

    def search_batch(self, queries: Sequence[Query], level: str) -> list[list[Hit]]:
        """Return the hits of each query; see `BatchSearch`. The coverage is the least of all queries of the batch."""
        with collected_coverage() as shares:
            hits = self._search(queries, level)
        coverage = min(shares, default=1.0)
        return hits if coverage == 1 else [PartialHits(row, coverage) for row in hits]

    def _search(self, queries: Sequence[Query], level: str) -> list[list[Hit]]:
        from elasticdenser.retrieval.reranking import NO_RERANKER

        hits: list[list[Hit]] = [[] for _ in queries]
        # Queries over the same documents are searched together, with the largest k, and cut to their own k afterwards.
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, query in enumerate(queries):
            alike = (query.doc_ids, query.filter, query.rerank, query.hybrid, query.word_weight)
            groups.setdefault(alike, []).append(number)
        for (doc_ids, filter, rerank, hybrid, word_weight), numbers in groups.items():
            texts = {str(number): queries[number].text for number in numbers}
            k = max(queries[number].k for number in numbers)
            options = self._levels[level] | {"hybrid": hybrid if word_weight is None else word_weight}
            if not rerank:
                options["reranker"] = NO_RERANKER
            for hit in self._retriever.search(texts, k, doc_ids=doc_ids, filter=filter, **options):
                hits[int(hit.query_id)].append(hit)
        return [hits_of_query[: query.k] for hits_of_query, query in zip(hits, queries, strict=True)]

    def shorten(self, text: str) -> str:
        """Return the query, or of a long one only what the encoder reads; see `BatchSearch`."""
        return self._retriever.encoder.shorten_query(text)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens as the encoder counts them, at most its maximum; see `BatchSearch`."""
        return self._retriever.encoder.count_tokens([text])[0]


def options_of_level(retriever: Retriever, level: str) -> dict[str, Any]:
    """Return the subnet, the escalation and the reranker of a level, as `Retriever.search` takes them.

    The levels alone say what an elastic ranker reranks. A reranker of another form, which the retriever was opened
    with, is used at all levels but those.

    Raises:
        QueryError: The encoder or the ranker lacks a subnet, or the index has no texts to rerank.
        ModelError: The level reranks and there is no ranker.
    """
    from elasticdenser.retrieval.escalation import Escalation
    from elasticdenser.retrieval.reranking import NO_RERANKER, ElasticReranker

    parts = parse_level_name(level)
    options: dict[str, Any] = {"subnet": retriever.encoder.resolve_subnet(parts.subnet)}
    if parts.escalation:
        options["escalation"] = Escalation.parse(parts.escalation, retriever.encoder)
    if parts.stages:
        return {**options, "reranker": elastic_reranker(retriever, parts.reranking)}
    return {**options, "reranker": NO_RERANKER} if isinstance(retriever.reranker, ElasticReranker) else options


def elastic_reranker(retriever: Retriever, spelling: str) -> ElasticReranker:
    """Return the reranker of a spelling such as `50:w0.5-d3` with the retriever's ranker.

    Raises:
        QueryError: The spelling has another form, the ranker lacks a subnet, or the index has no texts.
        ModelError: There is no ranker.
    """
    from elasticdenser.retrieval.reranking import ElasticReranker

    reranker = ElasticReranker.parse(spelling, retriever.load_ranker())
    if not reranker.n_candidates:
        raise QueryError(f"got {spelling!r} to rerank at a level; expected at least 1 candidate, such as 50:w0.5-d3")
    reranker.check_index(retriever.index)
    return reranker


def spelling_of(reranker: ElasticReranker) -> str:
    """Return the spelling of a reranker, such as `50:w0.5-d3`: each stage with its subnet."""
    return str(reranker).partition(":")[2]
