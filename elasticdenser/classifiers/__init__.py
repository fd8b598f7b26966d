"""Classifiers of texts and pairs of texts: ElasticClassifier, and early exits within one input."""

from elasticdenser.classifiers.elastic_classifier import ElasticClassifier, Prediction
from elasticdenser.classifiers.exits import ExitRule

__all__ = ["ElasticClassifier", "ExitRule", "Prediction"]
