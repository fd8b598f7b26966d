"""Effectiveness measures of a run against relevance judgements, named and computed by ir_measures."""

from __future__ import annotations

import logging
import math
import subprocess
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import ir_measures
from ir_measures import Measure, Qrel, ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.measure_parsing import EXAMPLES, AnswerMatch

Record = TypeVar("Record", Qrel, ScoredDoc)

logger = logging.getLogger(__name__)

_EMPTY_RUN = "the run is empty, expected at least one hit: make the run again"


class RunValues(NamedTuple):
    """Values of a run.

    Args:
        aggregated: Measure -> its value over all judged queries: the mean, or the sum for counts such as NumRet.
        by_query: Measure -> query id -> value, for the judged queries in the order of the judgements.
    """

    aggregated: dict[Measure, float]
    by_query: dict[Measure, dict[str, float]]


def measure_run(qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]) -> RunValues:
    """Return the values of each measure, over all judged queries and for each; a query without hits counts 0.

    Args:
        qrels: Relevance judgements.
        run: Hits; queries without judgements are left out with a warning.
        measures: Measures to compute; see `parse_measures`.

    Raises:
        BadInputError: Run and judgements have no query in common, a query has a document twice, a score is NaN, a
            measure needs more than judgements, or an argument is of another type.
    """
    qrels = list(_records(qrels, "relevance", "judgements", "load_qrels"))
    _check_measures(measures)
    results = _calculate(qrels, run, measures)
    aggregated = cast("dict[Measure, float]", results.aggregated)
    values = {(m.measure, m.query_id): float(m.value) for m in results.per_query}
    query_ids = dict.fromkeys(qrel.query_id for qrel in qrels)
    return RunValues(
        aggregated={measure: float(aggregated[measure]) for measure in measures},
        by_query={
            measure: {query_id: values[measure, query_id] for query_id in query_ids if (measure, query_id) in values}
            for measure in measures
        },
    )


def evaluate(qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]) -> dict[Measure, float]:
    """Return the value of each measure over all judged queries; arguments and errors are those of `measure_run`."""
    return measure_run(qrels, run, measures).aggregated


def evaluate_per_query(
    qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]
) -> dict[Measure, dict[str, float]]:
    """Return measure -> query id -> value; arguments and errors are those of `measure_run`."""
    return measure_run(qrels, run, measures).by_query


def check_overlap(judged: set[str], in_run: set[str]) -> None:
    """Refuse a run of another data set, and warn about queries that only one of the two sides has.

    Args:
        judged: Query ids with judgements or answers.
        in_run: Query ids with hits.

    Raises:
        BadInputError: One side is empty, or the two have no query in common.
    """
    if not judged:
        raise BadInputError("there are no judgements, expected at least one: check the qrels or answers")
    if not in_run:
        raise BadInputError(_EMPTY_RUN)
    if not judged & in_run:
        raise BadInputError(
            f"the run has no judged query: its queries have ids such as {min(in_run)!r}, the judged queries such as "
            f"{min(judged)!r}; expected a run of the same data set: use the qrels that belong to it"
        )
    if unjudged := len(in_run - judged):
        logger.warning("%d of %d queries in the run are not judged: left out", unjudged, len(in_run))
    if missing := len(judged - in_run):
        logger.warning("%d of %d judged queries are missing in the run: they count 0", missing, len(judged))


def check_documents(run: Iterable[ScoredDoc], known: Container[str] | Callable[[str], bool], corpus_name: str) -> int:
    """Refuse a run over another corpus, and warn if only some of its documents are not in the corpus.

    Args:
        run: Hits.
        known: The ids of the corpus, or a function that tells whether the corpus has an id; called once per document.
        corpus_name: Name of the corpus for messages.

    Returns:
        The number of hits that are not in the corpus.

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
        corpus_id = next(iter(known), None) if isinstance(known, Iterable) else None
        corpus_example = "" if corpus_id is None else f", the corpus has ids such as {corpus_id!r}"
        raise BadInputError(
            f"none of the {n_hits:,} hits of the run is in {corpus_name}: the run has documents such as "
            f"{next(iter(unknown))!r}{corpus_example}; expected a run over this "
            "corpus: give the corpus that was searched"
        )
    if unknown:
        message = "%d of %d hits of the run are not in %s, such as %r: is this the corpus that was searched?"
        logger.warning(message, n_unknown, n_hits, corpus_name, next(iter(unknown)))
    return n_unknown


def hits_by_query(run: Iterable[ScoredDoc]) -> dict[str, dict[str, float]]:
    """Group hits, as query id -> document id -> score, in the order given.

    Raises:
        BadInputError: A query has a document twice, a score is NaN, or the run holds something else than hits.
    """
    hits: dict[str, dict[str, float]] = {}
    for hit in _records(run, "score", "hits", "read_run"):
        scores = hits.setdefault(hit.query_id, {})
        if hit.doc_id in scores:
            raise BadInputError(
                f"the run has document {hit.doc_id!r} twice for query {hit.query_id!r}, expected once: "
                "keep the better of the two hits"
            )
        scores[hit.doc_id] = float(hit.score)
    for query_id, scores in hits.items():
        # A single NaN makes the sum NaN (so does inf - inf, which is allowed), and is faster than checking every score.
        if math.isnan(sum(scores.values())):
            for doc_id, score in scores.items():
                if math.isnan(score):
                    raise BadInputError(
                        f"the score of document {doc_id!r} for query {query_id!r} is {score}, expected a number: "
                        "check the vectors of the index and of the query for NaN"
                    )
    return hits


def _records(records: Iterable[Record], field: str, kind: str, reader: str) -> Iterator[Record]:
    """Yield judgements or hits, after a look at the first one.

    Args:
        records: The records.
        field: A field that each of them has.
        kind: Name of them in messages.
        reader: Function that reads them.

    Raises:
        BadInputError: They are something else, such as a path.
    """
    if isinstance(records, str | Path | Mapping) or not isinstance(records, Iterable):
        raise BadInputError(f"got {kind} of type {type(records).__name__}, expected a list, as {reader} returns it")
    iterator = iter(records)
    for first in iterator:
        if not hasattr(first, field):
            raise BadInputError(f"got {first!r} among the {kind}, expected a list of them, as {reader} returns them")
        yield first
        break
    yield from iterator


def _check_measures(measures: object) -> None:
    if isinstance(measures, Sequence) and measures and all(isinstance(measure, Measure) for measure in measures):
        return
    raise BadInputError(f"got the measures {measures!r}, expected a list, as parse_measures(['RR@10']) returns it")


def _calculate(qrels: Iterable[Qrel], run: Iterable[ScoredDoc], measures: Sequence[Measure]) -> ir_measures.CalcResults:
    """Compute measures over the judged queries with ir_measures."""
    if matches := [measure for measure in measures if measure.NAME == AnswerMatch.NAME]:
        raise BadInputError(
            f"{matches[0]} needs answers and the passages' texts, got only judgements: use answer_match "
            "(on the command line: evaluate DATASET RUN --answers-in INDEX)"
        )
    judgements: dict[str, dict[str, int]] = {}
    for qrel in qrels:
        if not isinstance(qrel.relevance, int):
            raise BadInputError(f"the relevance of {qrel} is {qrel.relevance!r}, expected a whole number")
        judgements.setdefault(qrel.query_id, {})[qrel.doc_id] = qrel.relevance
    hits = hits_by_query(run)
    check_overlap(set(judgements), set(hits))
    judged_hits = {query_id: scores for query_id, scores in hits.items() if query_id in judgements}
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
    """Warn if run and judgements share queries but no document: all measures would silently be 0."""
    if all(judgements[query_id].keys().isdisjoint(scores) for query_id, scores in hits.items()):
        query_id = next(iter(hits))
        logger.warning(
            "none of the %d hits is judged: are these the qrels of another data set? For query %r the run has "
            "document %r, the qrels have %r",
            sum(map(len, hits.values())),
            query_id,
            next(iter(hits[query_id])),
            next(iter(judgements[query_id])),
        )
