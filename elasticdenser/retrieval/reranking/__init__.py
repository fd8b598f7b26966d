"""Reranking: a second stage that gives the best candidates of the first a new order.

A new form of reranker is one file with a class that satisfies `Reranker`, and one line in `registry`.
"""

from elasticdenser.retrieval.reranking.base import Candidates, Ranking, Reranker
from elasticdenser.retrieval.reranking.registry import make_reranker

__all__ = ["Candidates", "Ranking", "Reranker", "make_reranker"]
