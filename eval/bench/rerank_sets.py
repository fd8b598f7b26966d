"""Query sets of the reranking benchmark: candidates of a first stage with their texts, and the measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean

import numpy as np

from elasticdenser import Retriever, Subnet
from elasticdenser.arrays import Positions, Scores
from elasticdenser.datasets import load_qrels, load_queries, open_corpus
from elasticdenser.datasets.collected_texts import collect_texts
from elasticdenser.datasets.runs import read_run
from elasticdenser.rankers import AnyRanker, Stage
from elasticdenser.rankers.stages import rank_in_stages
from elasticdenser.retrieval.reranking.runs import RankedRun, TextOf, candidate_ids, ranked_run

N_CANDIDATES = 100

Grades = Sequence[float]
"""Grades of passages, best rank first; 0 for those that were not judged."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Query with its candidates.

    Args:
        text: The query.
        passages: Texts of the candidates, best first by the first stage.
        first_scores: float32, (n_passages,), of the first stage.
        grades: Grades of the candidates.
        best_grades: All grades of the query, falling.
    """

    text: str
    passages: Sequence[str]
    first_scores: Scores
    grades: Grades
    best_grades: Grades


@dataclass(frozen=True, kw_only=True)
class RankingSet:
    """Queries, and the measure of their rankings."""

    name: str
    queries: Sequence[Query]
    measure: Callable[[Grades, Grades], float]

    def value(self, rankings: Sequence[Positions]) -> float:
        """Return the mean of the measure for rankings of the candidates, one for each query."""
        return fmean(
            self.measure([query.grades[number] for number in ranking], query.best_grades)
            for query, ranking in zip(self.queries, rankings, strict=True)
        )

    def first_stage(self) -> float:
        """Return the value of the first stage."""
        return self.value([np.arange(len(query.passages)) for query in self.queries])

    def scores(self, ranker: AnyRanker, subnet: Subnet) -> list[Scores]:
        """Return the ranker's scores of all candidates."""
        return [ranker.score(query.text, query.passages, subnet) for query in self.queries]

    def reranked(self, stages: Sequence[Stage], scores: dict[Subnet, list[Scores]], weight: float = 0.0) -> float:
        """Return the value after a reranking in stages, whose scores were computed before."""
        rankings = []
        for number, query in enumerate(self.queries):
            by_subnet = {subnet: scores[subnet][number] + weight * query.first_scores for subnet in scores}
            n_ranked = min(stages[0].n_candidates, len(query.passages))
            _, order = rank_in_stages(stages, n_ranked, partial(_looked_up, by_subnet))
            rankings.append(np.r_[order, np.arange(n_ranked, len(query.passages))])
        return self.value(rankings)


def nq_set(data: Path, index: Path, limit: int) -> RankingSet:
    """Return questions of NQ dev with the best passages by the full encoder.

    Args:
        data: Folder of the data sets.
        index: Index of NQ's and Wikipedia's passages.
        limit: Number of questions, the first ones; 0 for all.
    """
    retriever = Retriever.open(index)
    queries = {query.query_id: query.text for query in load_queries(data / "nq", split="dev")[: limit or None]}
    hits = retriever.search(queries, N_CANDIDATES)
    run = {
        query_id: [(hit.doc_id, hit.score) for hit in of_query]
        for query_id, of_query in groupby(hits, lambda hit: hit.query_id)
    }
    text_of: TextOf = lambda doc_id: retriever.index.passage(doc_id).content  # noqa: E731
    made = _queries(run, queries, _grades(data / "nq", "dev"), text_of)
    return RankingSet(name="NQ dev, full encoder, RR@10", queries=made, measure=reciprocal_rank)


def dl19_set(data: Path, run: str = "bm25") -> RankingSet:
    """Return the queries of TREC DL 2019 with the best passages of a system over all of MS MARCO."""
    folder = data / "rerank" / "dl19"
    hits = {
        query_id: of_query[:N_CANDIDATES]
        for query_id, of_query in ranked_run(read_run(folder / "runs" / f"{run}.trec.gz")).items()
    }
    texts = collect_texts(open_corpus(folder), candidate_ids(hits, N_CANDIDATES))
    queries = {query.query_id: query.text for query in load_queries(folder)}
    made = _queries(hits, queries, _grades(folder, "test"), texts.__getitem__)
    return RankingSet(name=f"DL19, {run}, nDCG@10", queries=made, measure=ndcg)


def reciprocal_rank(grades: Grades, best_grades: Grades) -> float:
    """Return RR@10."""
    return next((1 / rank for rank, grade in enumerate(grades[:10], 1) if grade > 0), 0.0)


def ndcg(grades: Grades, best_grades: Grades) -> float:
    """Return nDCG@10 as trec_eval computes it: the gain is the grade."""
    best = _dcg(best_grades)
    return _dcg(grades) / best if best else 0.0


def _dcg(grades: Grades) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades[:10], 1))


def _looked_up(scores: dict[Subnet, Scores], numbers: Positions, subnet: Subnet | None) -> Scores:
    return scores[subnet][numbers] if subnet is not None else max(scores.items())[1][numbers]


def _grades(source: Path, split: str) -> dict[str, dict[str, float]]:
    grades: dict[str, dict[str, float]] = {}
    for qrel in load_qrels(source, split=split):
        grades.setdefault(qrel.query_id, {})[qrel.doc_id] = max(0, qrel.relevance)
    return grades


def _queries(
    run: RankedRun, texts: dict[str, str], grades: dict[str, dict[str, float]], text_of: TextOf
) -> list[Query]:
    return [
        Query(
            text=texts[query_id],
            passages=[text_of(doc_id) for doc_id, _ in hits],
            first_scores=np.array([score for _, score in hits], np.float32),
            grades=[grades[query_id].get(doc_id, 0) for doc_id, _ in hits],
            best_grades=sorted(grades[query_id].values(), reverse=True),
        )
        for query_id, hits in run.items()
        if query_id in grades
    ]
