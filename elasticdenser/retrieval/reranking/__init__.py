"""Reranking: a second stage that reorders the best candidates of the first.

To add a form of reranker, add one file with a class that satisfies `Reranker`, and one line in `registry`.
"""

from elasticdenser.retrieval.reranking.base import Candidates, Ranking, Reranker
from elasticdenser.retrieval.reranking.elastic import ElasticReranker
from elasticdenser.retrieval.reranking.registry import NO_RERANKER, make_reranker, needs_ranker

__all__ = ["NO_RERANKER", "Candidates", "ElasticReranker", "Ranking", "Reranker", "make_reranker", "needs_ranker"]
