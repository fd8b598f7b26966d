"""Measures of a run against relevance judgements, in the names and code of ir_measures."""

from __future__ import annotations

import logging
import math
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import cast

import ir_measures
from ir_measures import Measure, Qrel, ScoredDoc
from ir_measures.measures import ParamInfo

from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)

EXAMPLES = "RR@10, R@1000, nDCG@10, Success@20, AP(rel=2)@100"
_EMPTY_RUN = "the run is empty, expected at least one hit: make the run again"


_CUTOFF = ParamInfo(dtype=int, required=True, desc="ranking cutoff threshold")  # type: ignore[no-untyped-call]


class _AnswerMatch(Measure):
    """1 if one of the first `cutoff` passages contains an answer, else 0: DPR's top-k accuracy.

    (Not the `Accuracy` of ir_measures, which is about pairs of relevant and other documents.) It needs answers
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
    """Read measures in the grammar of ir_measures, such as `nDCG@10` or `P(rel=2)@5`, and our `AnswerMatch@20`.

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
        BadInputError: Run and judgements have no query in common; a document twice for a query; a score that is no
            number; a measure that judgements are not enough for.
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
        BadInputError: Run and judgements have no query in common; a document twice for a query; a score that is no
            number; a measure that judgements are not enough for.
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
        raise BadInputError(_EMPTY_RUN)
    if not judged & in_run:
        raise BadInputError(
            f"the run has no judged query: its queries are called {min(in_run)!r} and the like, the judged "
            f"ones {min(judged)!r}; expected a run of the same data set: give the qrels that belong to it"
        )
    if unjudged := len(in_run - judged):
        logger.warning("%d of %d queries in the run are not judged: left out", unjudged, len(in_run))
    if missing := len(judged - in_run):
        logger.warning("%d of %d judged queries are missing in the run: they count 0", missing, len(judged))


def check_documents(run: Iterable[ScoredDoc], known: Container[str] | Callable[[str], bool], corpus_name: str) -> int:
    """Refuse a run over another corpus, and warn of single documents that this one does not have.

    Args:
        run: Hits.
        known: The ids of the corpus, or a function that tells whether it has an id; asked once for each document.
        corpus_name: What it is called in messages.

    Returns:
        How many hits are not in the corpus.

    Raises:
        BadInputError: The run is empty, or none of its documents is in the corpus.
    """
    hits = Counter(hit.doc_id for hit in run)
    if not hits:
        raise BadInputError(_EMPTY_RUN)
    is_known = known.__contains__ if isinstance(known, Container) else known
    unknown = {doc_id: count for doc_id, count in hits.items() if not is_known(doc_id)}
    n_unknown, n_hits = sum(unknown.values()), hits.total()
    if len(unknown) == len(hits):
        theirs = next(iter(known), None) if isinstance(known, Iterable) else None
        example = "" if theirs is None else f", those of the corpus {theirs!r}"
        raise BadInputError(
            f"none of the {n_hits:,} hits of the run is in {corpus_name}: its documents are called "
            f"{next(iter(unknown))!r} and the like{example}; expected a run over this corpus: give the one searched"
        )
    if unknown:
        message = "%d of %d hits of the run are not in %s, such as %r: is it the corpus that was searched?"
        logger.warning(message, n_unknown, n_hits, corpus_name, next(iter(unknown)))
    return n_unknown


def hits_by_query(run: Iterable[ScoredDoc]) -> dict[str, dict[str, float]]:
    """Group hits, as query id -> document id -> score, in the order given.

    Raises:
        BadInputError: A document stands twice for a query, or a score is not a number.
    """
    hits: dict[str, dict[str, float]] = {}
    for hit in run:
        found = hits.setdefault(hit.query_id, {})
        if hit.doc_id in found:
            raise BadInputError(
                f"document {hit.doc_id!r} stands twice in the run for query {hit.query_id!r}, expected once: "
                "keep the better of the two hits"
            )
        found[hit.doc_id] = float(hit.score)
    for query_id, found in hits.items():
        # One NaN makes a sum NaN (so does inf - inf), and a sum is fast.
        if math.isnan(sum(found.values())):
            for doc_id, score in found.items():
                if math.isnan(score):
                    raise BadInputError(
                        f"the score of document {doc_id!r} for query {query_id!r} is {score}, expected a number: "
                        "look for NaN in the vectors of the index and of the query"
                    )
    return hits


def _calculate(qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]) -> ir_measures.CalcResults:
    """Run ir_measures over the judged queries."""
    if matches := [measure for measure in measures if measure.NAME == AnswerMatch.NAME]:
        raise BadInputError(
            f"{matches[0]} needs answers and the passages' texts, got judgements: use answer_match "
            "(evaluate DATASET RUN --answers-in INDEX on the command line)"
        )
    judgements: dict[str, dict[str, int]] = {}
    for qrel in qrels:
        judgements.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    hits = hits_by_query(run)
    check_overlap(set(judgements), set(hits))
    judged_hits = {query_id: found for query_id, found in hits.items() if query_id in judgements}
    _warn_if_unjudged(judgements, judged_hits)
    try:
        return ir_measures.calc(measures, judgements, judged_hits)
    except subprocess.CalledProcessError as error:
        names = ", ".join(map(str, measures))
        raise BadInputError(
            f"one of {names} could not be computed (an external script of ir_measures failed), expected "
            f"measures such as {EXAMPLES}: leave out ERR and nDCG with another dcg"
        ) from error


def _warn_if_unjudged(judgements: Mapping[str, Mapping[str, int]], hits: Mapping[str, Mapping[str, float]]) -> None:
    """Warn where queries are shared, but no document: all measures would be 0 without a word."""
    if all(judgements[query_id].keys().isdisjoint(found) for query_id, found in hits.items()):
        query_id = next(iter(hits))
        logger.warning(
            "none of the %d hits is judged: are these the qrels of another data set? For query %r the run has "
            "document %r, the qrels have %r",
            sum(map(len, hits.values())),
            query_id,
            next(iter(hits[query_id])),
            next(iter(judgements[query_id])),
        )


def _problem_of(measure: Measure) -> str:
    """Say why a measure cannot be computed, or return an empty string."""
    cutoff = measure.params.get("cutoff")
    if cutoff is not None and (not isinstance(cutoff, int) or cutoff < 1):
        return f"the cut-off is {cutoff!r}, expected a whole number from 1"
    if "cutoff" in measure.SUPPORTED_PARAMS and measure.SUPPORTED_PARAMS["cutoff"].required and cutoff is None:
        return f"it needs a cut-off: {measure.NAME}@10"
    if measure.NAME == AnswerMatch.NAME:  # no provider computes it from judgements
        measure.validate_params()  # type: ignore[no-untyped-call]
        return ""
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
