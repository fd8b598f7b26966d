"""Parsing of measures in the grammar of ir_measures, and the measure that it lacks: AnswerMatch."""

from __future__ import annotations

import re
from collections.abc import Sequence

import ir_measures
from ir_measures import Measure
from ir_measures.measures import ParamInfo

from elasticdenser.errors import BadInputError

EXAMPLES = "RR@10, R@1000, nDCG@10, Success@20, AP(rel=2)@100"
_CUTOFF = ParamInfo(dtype=int, required=True, desc="ranking cutoff threshold")  # type: ignore[no-untyped-call]


class _AnswerMatch(Measure):
    """1 if at least one of the first `cutoff` passages contains an answer, else 0: the top-k accuracy of DPR.

    It differs from `Accuracy` of ir_measures, which compares pairs of relevant and other documents. It needs answers
    and texts instead of judgements; `elasticdenser.evaluation.answers` computes it.
    """

    __name__ = "AnswerMatch"
    NAME = __name__
    PRETTY_NAME = "Answer match at k"
    SHORT_DESC = "An indicator if a passage among the top k contains an answer of the question."
    SUPPORTED_PARAMS = {"cutoff": _CUTOFF}  # noqa: RUF012 (the base class has an instance variable)


AnswerMatch = _AnswerMatch()  # type: ignore[no-untyped-call]
if AnswerMatch.NAME not in ir_measures.measures.registry:
    ir_measures.measures.register(AnswerMatch)  # type: ignore[no-untyped-call]


def parse_measures(names: Sequence[str]) -> list[Measure]:
    """Parse measures in the grammar of ir_measures, such as `nDCG@10` or `P(rel=2)@5`, and our `AnswerMatch@20`.

    Args:
        names: Measures; an item may hold several, separated by spaces.

    Returns:
        The measures in the order given, without duplicates.

    Raises:
        BadInputError: At least one measure cannot be computed here; the message lists all of these.
    """
    measures: list[Measure] = []
    bad: list[str] = []
    # White space separates measures, except inside parentheses.
    for name in (part for item in names for part in re.findall(r"(?:\([^)]*\)|\S)+", item)):
        problem = ""
        try:
            measure = ir_measures.parse_measure(name)
            problem = _problem_of(measure)
        except NameError:
            problem = "unknown measure" + _suggestion(name)
        except Exception as error:  # the parser of ir_measures raises errors of many types
            problem = str(error) or "not readable as a measure"
        if problem:
            bad.append(f"{name!r} ({problem})")
        elif measure not in measures:
            measures.append(measure)
    if bad:
        raise BadInputError(f"cannot use {', '.join(bad)}: expected measures such as {EXAMPLES}")
    if not measures:
        raise BadInputError(f"got no measure, expected at least one, such as {EXAMPLES}")
    return measures


def _problem_of(measure: Measure) -> str:
    """Return why a measure cannot be computed; an empty string if it can."""
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and (not isinstance(cutoff, int) or cutoff < 1):
        return f"the cut-off is {cutoff!r}, expected a whole number of at least 1"
    if "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required and cutoff is None:
        return f"it needs a cut-off: {measure.NAME}@10"
    if measure.NAME == AnswerMatch.NAME:  # no provider computes it from judgements
        measure.validate_params()  # type: ignore[no-untyped-call]
        return ""
    if not ir_measures.DefaultPipeline.supports(measure):  # type: ignore[no-untyped-call]
        return "it needs a package that is not installed"
    return ""


def _suggestion(name: str) -> str:
    """Return a hint at the right spelling if only upper and lower case differ."""
    base = re.split(r"[@(]", name, maxsplit=1)[0]
    for known in ir_measures.measures.registry:
        if known.lower() == base.lower():
            return f", did you mean {known}{name[len(base) :]}?"
    return ""
