"""Evaluation of runs: measures, answer match, comparisons of systems, and their significance."""

from elasticdenser.evaluation.answers import AnswerMatcher, answer_match, answer_ranks, has_answer
from elasticdenser.evaluation.compare import compare
from elasticdenser.evaluation.comparison import (
    Cell,
    Comparison,
    Difference,
    Interval,
    QuerySetInfo,
    Skipped,
    SystemInfo,
)
from elasticdenser.evaluation.measure_parsing import AnswerMatch, parse_measures
from elasticdenser.evaluation.measures import check_documents, check_overlap, evaluate, evaluate_per_query
from elasticdenser.evaluation.query_sets import QuerySet
from elasticdenser.evaluation.significance import bootstrap_interval, holm, randomisation_test
from elasticdenser.evaluation.systems import System
from elasticdenser.evaluation.timing import time_systems

__all__ = [
    "AnswerMatch",
    "AnswerMatcher",
    "Cell",
    "Comparison",
    "Difference",
    "Interval",
    "QuerySet",
    "QuerySetInfo",
    "Skipped",
    "System",
    "SystemInfo",
    "answer_match",
    "answer_ranks",
    "bootstrap_interval",
    "check_documents",
    "check_overlap",
    "compare",
    "evaluate",
    "evaluate_per_query",
    "has_answer",
    "holm",
    "parse_measures",
    "randomisation_test",
    "time_systems",
]
