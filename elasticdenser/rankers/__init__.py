"""Rankers of passages for a query: cross-encoders (`ElasticRanker`) and late interaction (`LateInteractionRanker`)."""

from elasticdenser.rankers.base import RankedPassage, Ranker
from elasticdenser.rankers.elastic_ranker import ElasticRanker
from elasticdenser.rankers.late_interaction import LateInteractionRanker
from elasticdenser.rankers.loading import AnyRanker, load_ranker, load_shipped_ranker
from elasticdenser.rankers.stages import Stage

__all__ = [
    "AnyRanker",
    "ElasticRanker",
    "LateInteractionRanker",
    "RankedPassage",
    "Ranker",
    "Stage",
    "load_ranker",
    "load_shipped_ranker",
]
