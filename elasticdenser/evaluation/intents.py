"""Measures of intents and slots: accuracy, span-level F1, and exact match of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from elasticdenser.datasets.intents import IntentTask, Utterance
from elasticdenser.datasets.intents.frames import spans_of

if TYPE_CHECKING:
    from elasticdenser.classifiers.intent_tagger import Parse

ACCURACY, SLOT_F1, EXACT_MATCH = "intent accuracy", "slot F1", "exact match"


def slot_f1(expected: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """Return the F1 of the spans of BIO tags over all texts, as conlleval counts it.

    A span is right if its name, its first word and its last word are.

    Args:
        expected: The right tags of each text.
        found: Tags of the same words.

    Returns:
        The harmonic mean of precision and recall; 1 where there are no spans at all.
    """
    n_right = n_spans = 0
    for right, given in zip(expected, found, strict=True):
        right_spans, given_spans = set(spans_of(right)), set(spans_of(given))
        n_right += len(right_spans & given_spans)
        n_spans += len(right_spans) + len(given_spans)
    return 2 * n_right / n_spans if n_spans else 1.0


def main_measure(task: IntentTask) -> str:
    """Return the measure that a task is judged by: exact match, or without slots the accuracy."""
    return EXACT_MATCH if task.has_slots else ACCURACY


def measure_parses(utterances: Sequence[Utterance], parses: Sequence[Parse], task: IntentTask) -> dict[str, float]:
    """Return the measures of a model's answers by name.

    Exact match compares whole frames: where tags cannot express a frame, no answer is right.

    Args:
        utterances: The utterances, at least one.
        parses: The answers.
        task: Their task; without slots there is the accuracy alone.
    """
    pairs = list(zip(utterances, parses, strict=True))
    measures = {ACCURACY: fmean(utterance.intent == parse.intent for utterance, parse in pairs)}
    if task.has_slots:
        measures[SLOT_F1] = slot_f1([utterance.tags for utterance in utterances], [parse.tags for parse in parses])
        measures[EXACT_MATCH] = fmean(utterance.frame == parse.frame for utterance, parse in pairs)
    return measures
