"""Classifiers of texts and pairs of texts: ElasticClassifier, and early exits within one input."""

from elasticdenser.lazy_imports import check_installed

check_installed("an elastic classifier", "train", "torch", "safetensors")

from elasticdenser.classifiers.elastic_classifier import ElasticClassifier, Prediction  # noqa: E402
from elasticdenser.classifiers.exits import ExitRule  # noqa: E402

__all__ = ["ElasticClassifier", "ExitRule", "Prediction"]
