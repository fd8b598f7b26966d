"""Parsing of measures in the grammar of ir_measures, and the measure that it lacks: AnswerMatch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

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

_MAX_NUMBER = 2**31 - 1
"""Largest cut-off and degree of relevance; what computes the measures holds them in 32 bits."""

_WHOLE_NUMBER = f"a whole number from 1 to {_MAX_NUMBER}"
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
    if isinstance(names, str) or not all(isinstance(item, str) for item in names):
        raise BadInputError(f"got the measures {names!r}, expected a list of names, such as ['RR@10', 'nDCG@10']")
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
                problem = _fault(name)
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


def _fault(name: str) -> str:
    """Return the reason that something is not a measure in the grammar of ir_measures, whose parser says less."""
    if re.search(r"[,;]", re.sub(r"\([^)]*\)", "", name)):
        return "separate measures by spaces"
    base, _, cutoff = name.rpartition("@")
    known = ir_measures.measures.registry.get(re.sub(r"\([^()]*\)$", "", base))
    if known is not None and known.AT_PARAM == "cutoff" and not re.fullmatch(r"[0-9]+", cutoff):
        return f"the cut-off is {cutoff!r}, expected {_WHOLE_NUMBER}"
    return "expected NAME, NAME@CUTOFF or NAME(PARAMETER=VALUE)@CUTOFF"


def _problem_of(measure: Measure) -> str:
    """Return the reason that a measure cannot be computed; an empty string if it can."""
    if problem := _problem_of_parameters(measure):
        return problem
    if measure.NAME == AnswerMatch.NAME:  # no provider computes it from judgements
        return ""
    if not ir_measures.DefaultPipeline.supports(measure):  # type: ignore[no-untyped-call]
        return _missing_package(measure)
    return ""


def _problem_of_parameters(measure: Measure) -> str:
    """Return the first parameter that a measure lacks, does not have, or has with a wrong value, and what is right."""
    supported = measure.SUPPORTED_PARAMS
    for name, value in measure.params.items():
        if name not in supported:
            return f"it has no parameter {name!r}, expected {' or '.join(supported) or 'none'}"
        if not _is_valid(name, value, supported[name]):
            return f"{'the cut-off' if name == 'cutoff' else name} is {value!r}, expected {_expected(supported[name])}"
    if missing := [name for name, info in supported.items() if info.required and name not in measure.params]:
        return f"it needs a cut-off: {measure.NAME}@10" if missing[0] == "cutoff" else f"it needs {missing[0]}"
    return ""


def _is_valid(name: str, value: Any, parameter: ParamInfo) -> bool:
    if not parameter.validate(value):  # type: ignore[no-untyped-call]
        return False
    if name in ("cutoff", "rel"):
        return not isinstance(value, bool) and 1 <= value <= _MAX_NUMBER
    return name != "gains" or all(isinstance(degree, int) for degree in (*value, *value.values()))


def _expected(parameter: ParamInfo) -> str:
    """Return the description of a parameter's values."""
    if isinstance(parameter.choices, list):
        return " or ".join(map(repr, parameter.choices))
    names = {
        int: _WHOLE_NUMBER,
        float: "a number with a point, such as 0.5",
        bool: "True or False",
        dict: "degrees, such as {1: 3}",
    }
    return names[parameter.dtype]


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
