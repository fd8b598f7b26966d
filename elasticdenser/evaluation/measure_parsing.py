"""Parsing of measures in the grammar of ir_measures, and the measure that it lacks: AnswerMatch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import ir_measures
from ir_measures import Measure
from ir_measures.measures import ParamInfo

from elasticdenser.errors import BadInputError

EXAMPLES = "RR@10, R@1000, nDCG@10, Success@20, AP(rel=2)@100"
_OTHER_NAMES = {
    **dict.fromkeys(("mrr", "recip_rank"), "RR"),
    **dict.fromkeys(("map", "average_precision"), "AP"),
    **dict.fromkeys(("recall", "r"), "R"),
    **dict.fromkeys(("precision", "p"), "P"),
    **dict.fromkeys(("hit", "hits", "hit_rate", "hitrate"), "Success"),
    **dict.fromkeys(("ndcg_cut", "ndcg"), "nDCG"),
}
"""Names that other tools give to measures, in lower case -> name in ir_measures."""

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

    The names of trec_eval are understood too: `ndcg_cut_10` is `nDCG@10`, and `recall` is R at nine cut-offs.

    Args:
        names: Measures; an item may hold several, separated by spaces.

    Returns:
        The measures in the order given, without duplicates.

    Raises:
        BadInputError: At least one measure cannot be computed here; the message lists all of these.
    """
    measures: list[Measure] = []
    rejected: list[str] = []
    # White space separates measures, except inside parentheses.
    for name in (part for item in names for part in re.findall(r"(?:\([^)]*\)|\S)+", item)):
        parsed: list[Measure] = []
        problem = ""
        try:
            parsed = [ir_measures.parse_measure(name)]
            problem = _problem_of(parsed[0])
        except Exception as error:  # the parser of ir_measures raises errors of many types
            parsed = _parse_trec_name(name)
            if not parsed and isinstance(error, NameError):
                problem = "unknown measure" + _suggestion(name)
            elif not parsed:
                problem = str(error) or "not readable as a measure"
        if problem:
            rejected.append(f"{name!r} ({problem})")
        else:
            measures += [measure for measure in parsed if measure not in measures]
    if rejected:
        raise BadInputError(f"cannot use {', '.join(rejected)}: expected measures such as {EXAMPLES}")
    if not measures:
        raise BadInputError(f"got no measure, expected at least one, such as {EXAMPLES}")
    return measures


def _parse_trec_name(name: str) -> list[Measure]:
    """Return the measures that a name of trec_eval stands for; an empty list if it is none, or has no equivalent."""
    if not re.fullmatch(r"[A-Za-z_]+?([._]\d+(\.\d+)?(,\d+(\.\d+)?)*)?", name):
        return []
    try:
        with redirect_stdout(StringIO()):  # it prints which measures of a group it skips
            parsed = ir_measures.parse_trec_measure(name)
    except (ValueError, TypeError):
        return []
    return [measure for measure in parsed if not _problem_of(measure)]


def _problem_of(measure: Measure) -> str:
    """Return the reason that a measure cannot be computed; an empty string if it can."""
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and (not isinstance(cutoff, int) or cutoff < 1):
        return f"the cut-off is {cutoff!r}, expected a whole number of at least 1"
    if "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required and cutoff is None:
        return f"it needs a cut-off: {measure.NAME}@10"
    if measure.NAME == AnswerMatch.NAME:  # no provider computes it from judgements
        measure.validate_params()  # type: ignore[no-untyped-call]
        return ""
    if not ir_measures.DefaultPipeline.supports(measure):  # type: ignore[no-untyped-call]
        return _missing_package(measure)
    return ""


def _missing_package(measure: Measure) -> str:
    """Return what must be installed to compute a measure."""
    providers = ir_measures.DefaultPipeline.providers
    install = [
        instructions
        for provider in providers
        if not provider.is_available() and provider.supports(measure)
        if (instructions := provider.install_instructions())
    ]
    return "it needs what is not installed: " + " or ".join(install) if install else "nothing here computes it"


def _suggestion(name: str) -> str:
    """Return a hint at the spelling of ir_measures, if only the case differs or the name is a common one."""
    base = re.split(r"[@(]", name, maxsplit=1)[0]
    known = {measure.lower(): measure for measure in ir_measures.measures.registry} | _OTHER_NAMES
    if measure := known.get(base.lower()):
        return f", did you mean {measure}{name[len(base) :]}?"
    return ""
