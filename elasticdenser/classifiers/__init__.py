"""Classifiers of texts and pairs of texts, early exits within one input, and models of intents and slots."""

from elasticdenser.lazy_imports import check_installed

check_installed("an elastic classifier", "train", "torch", "safetensors")

from elasticdenser.classifiers.elastic_classifier import ElasticClassifier, Prediction  # noqa: E402
from elasticdenser.classifiers.exits import ExitRule  # noqa: E402
from elasticdenser.classifiers.intent_tagger import IntentTagger, Parse, Slot  # noqa: E402

__all__ = ["ElasticClassifier", "ExitRule", "IntentTagger", "Parse", "Prediction", "Slot"]
