"""Rankers that read a query and a passage together (cross-encoders): ElasticRanker, its pairs and its backends."""

from elasticdenser.rankers.elastic_ranker import ElasticRanker

__all__ = ["ElasticRanker"]
