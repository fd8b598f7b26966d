"""Rankers that read a query and a passage together (cross-encoders): ElasticRanker, its pairs and its backends."""

from elasticdenser.rankers.elastic_ranker import ElasticRanker, RankedPassage
from elasticdenser.rankers.stages import Stage

__all__ = ["ElasticRanker", "RankedPassage", "Stage"]
