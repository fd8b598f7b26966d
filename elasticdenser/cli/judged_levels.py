"""Quality of levels by a measure on judged queries, for `profile --measure`."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from elasticdenser.datasets import load_qrels, load_queries
from elasticdenser.datasets.qrels import check_judged
from elasticdenser.engine.batch_search import options_of_level
from elasticdenser.engine.profiling.agreement import MIN_QUALITY, JudgeLevels
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import evaluate, parse_measures
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_MAX_QUERIES = 500
"""Enough for a standard error of about .01 of a share, as all levels answer the same queries."""
_DEFAULT_K = 100
"""Hits of a query where the measure has no cut-off."""


def judge_by_measure(
    retriever: Retriever, dataset: str, measure: str, *, seed: int = 0, progress: Progress = silent
) -> JudgeLevels:
    """Return a function that judges levels of a retriever.

    Args:
        retriever: The retriever.
        dataset: Queries with judgements: a BEIR folder or an id of ir_datasets.
        measure: A measure in the grammar of ir_measures, such as `nDCG@10`.
        seed: Seed of the sample of queries, if there are many.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: There are no judgements, they are of another corpus, or there is no such measure.
    """
    (parsed,) = parse_measures([measure])
    check_judged(dataset)
    all_qrels = load_qrels(dataset)
    texts = {query.query_id: query.text for query in load_queries(dataset)}
    judged = sorted({qrel.query_id for qrel in all_qrels if qrel.relevance > 0} & texts.keys())
    if not judged:
        raise BadInputError("none of its queries has a relevant document: give judged queries", dataset)
    sample = judged if len(judged) <= _MAX_QUERIES else Random(seed).sample(judged, _MAX_QUERIES)
    queries = {query_id: texts[query_id] for query_id in sample}
    qrels = [qrel for qrel in all_qrels if qrel.query_id in queries]
    k = int(parsed.params.get("cutoff") or _DEFAULT_K)
    by_document = retriever.index.manifest.chunking is not None  # judgements name documents, not chunks

    def figure(level: str) -> float:
        options = options_of_level(retriever, level)
        run = list(retriever.search(queries, k, by_document=by_document, **options))
        return evaluate(qrels, run, [parsed])[parsed]

    def judge(levels: Sequence[str], best: str) -> dict[str, float]:
        if not levels:
            return {}
        figures: dict[str, float] = {}
        names = dict.fromkeys([best, *levels])
        for done, level in enumerate(names):
            progress("Judging levels", done, len(names))
            figures[level] = figure(level)
        progress("Judging levels", len(names), len(names))
        if not figures[best] > 0:
            raise BadInputError(f"{best} has {measure} = 0 on these queries: are they of the index's corpus?", dataset)
        return {level: max(figures[level] / figures[best], MIN_QUALITY) for level in levels}

    return judge
