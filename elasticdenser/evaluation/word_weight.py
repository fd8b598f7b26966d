"""Choice of the weight of words in hybrid search, on a user's own judgements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from ir_measures import ScoredDoc

from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.progress import Progress, silent
from elasticdenser.retrieval.hybrid import DEFAULT_WEIGHT, FusionCandidates, fusion_candidates, words_of
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.subnet import Subnet

WEIGHTS = tuple(step / 20 for step in range(21))
"""Weights that are compared: from 0, meaning alone, to 1, words alone."""

_BATCH = 32
_FOLDS = 2


@dataclass(frozen=True, kw_only=True)
class WeightChoice:
    """Quality at each weight of words, and the best one.

    Attributes:
        measure: The measure.
        means: Mean over all queries by weight.
        weight: The weight of the highest mean; of equal ones the nearest to the default.
        cross_validated: Mean over all queries if those of each half are measured at the weight that is best for the
            other half: what to expect for new queries.
        n_queries: Number of queries.
    """

    measure: str
    means: Mapping[float, float]
    weight: float
    cross_validated: float
    n_queries: int


def choose_word_weight(
    retriever: Retriever,
    query_set: QuerySet,
    *,
    subnet: str | Subnet | None = None,
    weights: Sequence[float] = WEIGHTS,
    progress: Progress = silent,
) -> WeightChoice:
    """Measure hybrid search at several weights of words; every query is searched once.

    Args:
        retriever: The retriever; its index must have been built with postings.
        query_set: Queries with judgements or answers; its first measure is used.
        subnet: Subnet that encodes the queries; None is the full encoder.
        weights: Weights to compare.
        progress: Called with (activity, done, total).

    Raises:
        QueryError: The index cannot be searched by words, or the encoder has no such subnet.
    """
    words_of(retriever.index, instead="")  # before any query is encoded
    measure = str(query_set.parsed_measures[0])
    candidates = dict(_candidates(retriever, query_set, subnet, progress))
    values = {
        weight: query_set.measure(_run(retriever, candidates, weight, query_set.k))[0][measure] for weight in weights
    }
    query_ids = list(next(iter(values.values())))
    folds = [query_ids[start::_FOLDS] for start in range(min(_FOLDS, len(query_ids)))]
    held_out = []
    for fold in folds:
        others = [query_id for query_id in query_ids if query_id not in set(fold)] or query_ids
        best = _best(_means(values, others))
        held_out += [values[best][query_id] for query_id in fold]
    means = _means(values, query_ids)
    return WeightChoice(
        measure=measure,
        means=means,
        weight=_best(means),
        cross_validated=fmean(held_out),
        n_queries=len(query_ids),
    )


def _candidates(
    retriever: Retriever, query_set: QuerySet, subnet: str | Subnet | None, progress: Progress
) -> Iterator[tuple[str, FusionCandidates]]:
    queries = query_set.judged
    remaining, n_done = iter(queries.items()), 0
    while batch := list(islice(remaining, _BATCH)):
        texts = [text for _, text in batch]
        vectors = retriever.encoder.encode(texts, subnet)
        found = fusion_candidates(retriever.index, texts, vectors, query_set.k)
        yield from zip((query_id for query_id, _ in batch), found, strict=True)
        n_done += len(batch)
        progress("searching", n_done, len(queries))


def _run(retriever: Retriever, candidates: Mapping[str, FusionCandidates], weight: float, k: int) -> list[ScoredDoc]:
    """Return the hits at a weight, scored by their ranks: tools would put equal scores into an order of their own."""
    return [
        ScoredDoc(query_id, doc_id, -rank)
        for query_id, of_query in candidates.items()
        for rank, doc_id in enumerate(retriever.index.doc_ids.take(of_query.best(weight, k)[1]))
    ]


def _means(values: Mapping[float, Mapping[str, float]], query_ids: Sequence[str]) -> dict[float, float]:
    return {weight: fmean(by_query[query_id] for query_id in query_ids) for weight, by_query in values.items()}


def _best(means: Mapping[float, float]) -> float:
    return max(means, key=lambda weight: (means[weight], -abs(weight - DEFAULT_WEIGHT)))
