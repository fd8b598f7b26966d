"""Reranking of a finished run, of this package or of any other tool."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ir_measures import ScoredDoc
from numpy.typing import NDArray

from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.ordered_map import ordered_map
from elasticdenser.retrieval.reranking.elastic import ElasticReranker
from elasticdenser.retrieval.scores import strictly_decreasing

RankedRun = Mapping[str, Sequence[tuple[str, float]]]
"""Query id -> (document id, score), best first."""

TextOf = Callable[[str], str]
"""Takes the id of a document; returns its title, a space and its text."""

_SHOWN = 3
"""Ids that an error shows."""


class IndexTexts:
    """Texts of an index by document id, title and space first; see `CollectedTexts` for those of a corpus.

    Args:
        index: The index.

    Raises:
        QueryError: It was built without texts.
    """

    def __init__(self, index: PassageIndex) -> None:
        if not index.has_texts:
            raise QueryError(f"{index.path} holds no texts, which a ranker reads: build the index without --no-texts")
        self._index = index

    def __contains__(self, doc_id: str) -> bool:
        return self._index.doc_ids.find(doc_id) >= 0

    def __getitem__(self, doc_id: str) -> str:
        return self._index.passage(doc_id).content


def ranked_run(hits: Iterable[ScoredDoc]) -> RankedRun:
    """Return the hits of each query by falling score, equal scores in the order given."""
    run: dict[str, list[tuple[str, float]]] = {}
    for hit in hits:
        run.setdefault(hit.query_id, []).append((hit.doc_id, float(hit.score)))
    for of_query in run.values():
        of_query.sort(key=lambda item: item[1], reverse=True)  # stable: ties keep their order
    return run


def candidate_ids(run: RankedRun, n_candidates: int) -> set[str]:
    """Return the ids of the best documents of every query, whose texts are needed to rerank them."""
    return {doc_id for hits in run.values() for doc_id, _ in hits[:n_candidates]}


def rerank_run(
    reranker: ElasticReranker,
    run: RankedRun,
    queries: Mapping[str, str],
    text_of: TextOf,
    *,
    k: int | None = None,
    workers: int = 1,
    scale: bool = True,
) -> Iterator[ScoredDoc]:
    """Rerank the best documents of each query; the others follow in their old order, with falling scores.

    Args:
        reranker: Reranks `n_candidates` documents of each query.
        run: The run, as `ranked_run` returns it.
        queries: Query id -> text.
        text_of: Texts of the candidates; called from several threads.
        k: Hits for each query, at most; None is all of them.
        workers: Threads, each of which reranks a query at a time.
        scale: Whether `first_stage_weight` applies to scores that are scaled to 0 to 1 for each query (min-max; Bruch,
            Gai and Ingber 2023), as those of tools lie anywhere, or to the scores as they are.

    Yields:
        The hits, query by query, best first, scores strictly falling.

    Raises:
        QueryError: A query of the run is missing or empty.
    """
    check_queries(run, queries)

    def rerank(query_id: str) -> list[ScoredDoc]:
        return _rerank_query(reranker, query_id, queries[query_id], run[query_id], text_of, scale)[:k]

    if workers == 1:
        for query_id in run:
            yield from rerank(query_id)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="rerank") as pool:
        for hits in ordered_map(pool, rerank, run, 2 * workers):
            yield from hits


def check_queries(run: RankedRun, queries: Mapping[str, str]) -> None:
    """Refuse a run with queries whose text is not known.

    Raises:
        QueryError: There are such queries.
    """
    if missing := [query_id for query_id in run if query_id not in queries]:
        raise QueryError(
            f"the run has {len(missing):,} of its {len(run):,} queries that are not among the queries given "
            f"({_shown(missing)}): give the file of all queries (--queries), or another --split of it"
        )


def check_documents(doc_ids: Collection[str], is_known: Callable[[str], bool], where: str) -> None:
    """Refuse documents whose text is not known.

    Raises:
        BadInputError: There are such documents.
    """
    if missing := sorted(doc_id for doc_id in doc_ids if not is_known(doc_id)):
        raise BadInputError(
            f"{len(missing):,} of the {len(doc_ids):,} documents to rerank are not in {where} ({_shown(missing)}): "
            "give the corpus that the run was made from, and the field of its ids"
        )


def _shown(ids: Sequence[str]) -> str:
    """Return the first of some ids for a message."""
    return ", ".join(map(repr, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")


def _rerank_query(
    reranker: ElasticReranker,
    query_id: str,
    query: str,
    hits: Sequence[tuple[str, float]],
    text_of: TextOf,
    scale: bool,
) -> list[ScoredDoc]:
    candidates = hits[: reranker.n_candidates]
    doc_ids, first_scores = [doc_id for doc_id, _ in hits], np.array([score for _, score in hits])
    texts = [text_of(doc_id) for doc_id, _ in candidates]
    of_candidates = first_scores[: len(texts)]
    of_candidates = (_scaled(of_candidates) if scale else of_candidates).astype(np.float32)
    scores, order = reranker.rank_texts(query, texts, of_candidates)
    last = scores[-1:].min(initial=np.inf)
    others = np.minimum(first_scores[len(texts) :], last).astype(np.float32)
    new_scores = strictly_decreasing(np.r_[scores, others])
    new_ids = [doc_ids[number] for number in order] + doc_ids[len(texts) :]
    return [ScoredDoc(query_id, doc_id, score) for doc_id, score in zip(new_ids, new_scores.tolist(), strict=True)]


def _scaled(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores, best first, scaled to 1 to 0; zeros where all are equal."""
    above_last = scores - scores[-1:]
    return above_last / np.where(above_last[:1] > 0, above_last[:1], 1)
