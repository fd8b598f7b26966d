"""Measures, answer match, significance: what a run is worth, and whether two differ."""

from elasticdenser.evaluation.answers import AnswerMatcher, answer_match, has_answer
from elasticdenser.evaluation.comparison import (
    Cell,
    Comparison,
    Difference,
    Interval,
    QuerySetInfo,
    Skipped,
    SystemInfo,
)
from elasticdenser.evaluation.measures import check_overlap, evaluate, evaluate_per_query, parse_measures

__all__ = [
    "AnswerMatcher",
    "Cell",
    "Comparison",
    "Difference",
    "Interval",
    "QuerySetInfo",
    "Skipped",
    "SystemInfo",
    "answer_match",
    "check_overlap",
    "evaluate",
    "evaluate_per_query",
    "has_answer",
    "parse_measures",
]
