"""Measures of a run against relevance judgements, in the names and code of ir_measures."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterable, Sequence
from typing import cast

import ir_measures
from ir_measures import Measure, Qrel, ScoredDoc

from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)

EXAMPLES = "RR@10, R@1000, nDCG@10, Success@20, AP(rel=2)@100"


def parse_measures(names: Sequence[str]) -> list[Measure]:
    """Read measures in the grammar of ir_measures, such as `nDCG@10` or `P(rel=2)@5`.

    Args:
        names: Measures; an item may hold several, separated by spaces.

    Returns:
        The measures in the order given, each once.

    Raises:
        BadInputError: At least one is not a measure that can be computed here; the message names all of them.
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
        except Exception as error:  # its parser lets errors of many types through
            problem = str(error) or "cannot be read"
        if problem:
            bad.append(f"{name!r} ({problem})")
        elif measure not in measures:
            measures.append(measure)
    if bad:
        raise BadInputError(f"cannot use {', '.join(bad)}: expected measures such as {EXAMPLES}")
    if not measures:
        raise BadInputError(f"no measure given: name one or more, such as {EXAMPLES}")
    return measures


def evaluate(qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]) -> dict[Measure, float]:
    """Aggregate measures over all judged queries; one without results counts as nothing found.

    Args:
        qrels: Relevance judgements.
        run: Hits; queries without judgements are left out, with a warning.
        measures: What to compute; see `parse_measures`.

    Raises:
        BadInputError: Run and judgements have no query in common.
    """
    aggregated = cast("dict[Measure, float]", _calculate(qrels, run, measures).aggregated)
    return {measure: float(aggregated[measure]) for measure in measures}


def evaluate_per_query(
    qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]
) -> dict[Measure, dict[str, float]]:
    """Compute measures for each judged query, as measure -> query id -> value.

    Args:
        qrels: Relevance judgements; their order is the order of the queries returned.
        run: Hits; queries without judgements are left out, with a warning.
        measures: What to compute; see `parse_measures`.

    Raises:
        BadInputError: Run and judgements have no query in common.
    """
    qrels = list(qrels)
    found = {(m.measure, m.query_id): float(m.value) for m in _calculate(qrels, run, measures).per_query}
    query_ids = dict.fromkeys(qrel.query_id for qrel in qrels)
    return {
        measure: {query_id: found[measure, query_id] for query_id in query_ids if (measure, query_id) in found}
        for measure in measures
    }


def check_overlap(judged: set[str], in_run: set[str]) -> None:
    """Refuse a run of another data set, and warn of queries that only one of the two sides has.

    Args:
        judged: Query ids with judgements or answers.
        in_run: Query ids with hits.

    Raises:
        BadInputError: There is nothing to evaluate, or nothing in common.
    """
    if not judged:
        raise BadInputError("there are no judgements, expected at least one: check the qrels or answers")
    if not in_run:
        raise BadInputError("the run is empty, expected at least one hit: make the run again")
    if not judged & in_run:
        raise BadInputError(
            f"the run has no judged query: its queries are called {min(in_run)!r} and the like, the judged "
            f"ones {min(judged)!r}; expected a run of the same data set: give the qrels that belong to it"
        )
    if unjudged := len(in_run - judged):
        logger.warning("%d of %d queries in the run are not judged: left out", unjudged, len(in_run))
    if missing := len(judged - in_run):
        logger.warning("%d of %d judged queries are missing in the run: they count 0", missing, len(judged))


def _calculate(qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]) -> ir_measures.CalcResults:
    """Run ir_measures over the judged queries."""
    judgements: dict[str, dict[str, int]] = {}
    for qrel in qrels:
        judgements.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    hits: dict[str, dict[str, float]] = {}
    for hit in run:
        hits.setdefault(hit.query_id, {})[hit.doc_id] = float(hit.score)
    check_overlap(set(judgements), set(hits))
    judged_hits = {query_id: found for query_id, found in hits.items() if query_id in judgements}
    try:
        return ir_measures.calc(measures, judgements, judged_hits)
    except subprocess.CalledProcessError as error:
        names = ", ".join(map(str, measures))
        raise BadInputError(
            f"one of {names} could not be computed (an external script of ir_measures failed), expected "
            f"measures such as {EXAMPLES}: leave out ERR and nDCG with another dcg"
        ) from error


def _problem_of(measure: Measure) -> str:
    """Say why a measure cannot be computed, or return an empty string."""
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and (not isinstance(cutoff, int) or cutoff < 1):
        return f"the cut-off is {cutoff!r}, expected a whole number from 1"
    if "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required and cutoff is None:
        return f"it needs a cut-off: {measure.NAME}@10"
    if not ir_measures.DefaultPipeline.supports(measure):  # type: ignore[no-untyped-call]
        return "it needs a package that is not installed"
    return ""


def _suggestion(name: str) -> str:
    """Offer the right spelling when only upper and lower case differ."""
    base = re.split(r"[@(]", name, maxsplit=1)[0]
    for known in ir_measures.measures.registry:
        if known.lower() == base.lower():
            return f", did you mean {known}{name[len(base) :]}?"
    return ""
