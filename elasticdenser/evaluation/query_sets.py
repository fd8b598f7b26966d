"""Query sets: queries over a corpus, with judgements or answers, and the measures to compute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import ir_measures
from ir_measures import Measure, Qrel, ScoredDoc

from elasticdenser.artifacts import check_name
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.answers import answer_match_by_query
from elasticdenser.evaluation.comparison import QuerySetInfo
from elasticdenser.evaluation.measure_parsing import AnswerMatch, parse_measures
from elasticdenser.evaluation.measures import check_documents, evaluate_per_query

_CURVE_CUTOFFS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""About evenly spaced on a logarithmic axis, with all cut-offs that are common in the field."""

_MAX_TIMED_K = 100
"""Hits per query in timings: as many as a page or a reranker uses, and enough to fuse."""

_MAX_ANSWER_CUTOFF = 100
"""Deepest cut-off of the curve of AnswerMatch: every passage that is searched for answers takes time."""


@dataclass(frozen=True, kw_only=True)
class QuerySet:
    """Queries over a corpus, with the judgements or answers that their hits are measured by.

    Args:
        name: Short name, such as `nq-dev`.
        queries: Query id -> text.
        measures: Measures in the grammar of ir_measures, and `AnswerMatch@k`; the first is the primary measure.
        qrels: Relevance judgements, for all measures except AnswerMatch.
        answers: Query id -> accepted answers, for AnswerMatch.
        text_of: Document id -> text of the passage (KeyError if unknown), for AnswerMatch.
        regex: Whether answers are regular expressions.
        ignore_identical_ids: Whether hits whose document id equals the query id are left out: the queries of some data
            sets are documents of their own corpus.
        k: Hits per query that systems return; no measure may have a deeper cut-off.
        title: Title in plain words.
        n_passages: Number of passages in the corpus, if known.
        has_document: Tells whether the corpus has a document id; None if that is not known.
        typing_errors: Number of typing errors in each of `queries`, for the report.
        perturbation: Name of the slip in each of `queries`, likewise.
        origin: Identifies the queries without slips; reports compare query sets with the same origin.

    Raises:
        BadInputError: A measure cannot be computed from the given judgements, answers and texts.
    """

    name: str
    queries: Mapping[str, str]
    measures: Sequence[str]
    qrels: Sequence[Qrel] = ()
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    text_of: Callable[[str], str] | None = None
    regex: bool = False
    ignore_identical_ids: bool = False
    k: int = 1000
    title: str = ""
    n_passages: int | None = None
    has_document: Callable[[str], bool] | None = None
    typing_errors: int = 0
    perturbation: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        check_name("query set", self.name)
        if not self.queries:
            raise BadInputError(f"query set {self.name!r} has no queries, expected at least one")
        if self.k < 1:
            raise BadInputError(f"query set {self.name!r}: got k = {self.k}, expected at least 1")
        parsed = parse_measures(self.measures)
        for measure in parsed:
            cutoff = measure.params.get("cutoff")
            if cutoff is not None and cutoff > self.k:
                message = f"{measure} needs {cutoff} hits, but k is {self.k}: raise k or leave the measure out"
                raise BadInputError(f"query set {self.name!r}: {message}")
        if any(_is_answer_match(measure) for measure in parsed) and not (self.answers and self.text_of):
            message = "AnswerMatch needs answers and the texts of the passages: give both, or leave the measure out"
            raise BadInputError(f"query set {self.name!r}: {message}")
        if not all(_is_answer_match(measure) for measure in parsed) and not self.qrels:
            names = ", ".join(str(measure) for measure in parsed if not _is_answer_match(measure))
            message = f"there are no judgements for {names}: give qrels, or use AnswerMatch@k"
            raise BadInputError(f"query set {self.name!r}: {message}")
        self._check_ids("judgements", {qrel.query_id for qrel in self.qrels})
        self._check_ids("answers", set(self.answers))

    def _check_ids(self, kind: str, ids: set[str]) -> None:
        """Refuse judgements or answers for queries that this set does not have."""
        if lacking := ids - set(self.queries):
            message = (
                f"there are {kind} for {len(lacking)} queries that it does not have, such as {min(lacking)!r}: give "
                f"the {kind} of this query set, or all its queries"
            )
            raise BadInputError(f"query set {self.name!r}: {message}")

    @property
    def parsed_measures(self) -> list[Measure]:
        """The measures as objects of ir_measures."""
        return parse_measures(self.measures)

    @property
    def judged(self) -> dict[str, str]:
        """The queries with judgements or answers; systems search only these."""
        if not self.qrels:
            return {query_id: text for query_id, text in self.queries.items() if query_id in self.answers}
        judged = {qrel.query_id for qrel in self.qrels}
        if any(_is_answer_match(measure) for measure in self.parsed_measures):
            judged |= set(self.answers)
        return {query_id: text for query_id, text in self.queries.items() if query_id in judged}

    @property
    def timed_k(self) -> int:
        """Hits per query in timings."""
        return min(_MAX_TIMED_K, self.k)

    @property
    def curve_measure(self) -> str:
        """Measure of the recall curve without its cut-off: R at the relevance level of the table, or AnswerMatch."""
        for measure in self.parsed_measures:
            if measure.NAME in ("R", "Success"):
                level = measure.params.get("rel", 1)
                return "R" if level == 1 else f"R(rel={level})"
        return "R" if self.qrels else AnswerMatch.NAME

    def fingerprint(self) -> str:
        """Return the SHA-256 over queries, judgements and answers, whatever the order of the judgements."""
        digest = hashlib.sha256()
        qrels = sorted((qrel.query_id, qrel.doc_id, qrel.relevance) for qrel in self.qrels)
        answers = {query_id: list(accepted) for query_id, accepted in self.answers.items()}
        for part in (dict(self.queries), qrels, answers, self.regex, self.ignore_identical_ids):
            digest.update(json.dumps(part, ensure_ascii=False).encode())
        return digest.hexdigest()

    def info(self) -> QuerySetInfo:
        """Return the description of the query set for reports."""
        return QuerySetInfo(
            name=self.name,
            title=self.title or self.name,
            measures=tuple(map(str, self.parsed_measures)),
            n_passages=self.n_passages,
            queries=self.judged,
            curve_measure=self.curve_measure,
            fingerprint=self.fingerprint(),
            timed_k=self.timed_k,
            typing_errors=self.typing_errors,
            perturbation=self.perturbation,
            origin=self.origin,
        )

    def check(self, run: Sequence[ScoredDoc]) -> None:
        """Refuse a run over another corpus, and warn if some of its documents are unknown.

        Raises:
            BadInputError: No document of the run is in the corpus.
        """
        if self.has_document is not None:
            check_documents(run, self.has_document, self.title or self.name)

    def measure(self, run: Sequence[ScoredDoc]) -> tuple[dict[str, dict[str, float]], dict[int, float]]:
        """Compute the measures of a run.

        Returns:
            Measure -> query id -> value, over the judged queries (for AnswerMatch: those with answers), where a query
            without hits counts 0; and the recall curve as cut-off -> mean.

        Raises:
            BadInputError: The run has no query in common with the query set, a query has a document twice, or a score
                is NaN.
        """
        if self.ignore_identical_ids:
            run = [hit for hit in run if hit.query_id != hit.doc_id]
        curve = self._curve_measures()
        measures = list(dict.fromkeys([*self.parsed_measures, *curve]))
        by_measure: dict[Measure, dict[str, float]] = {}
        if by_qrels := [measure for measure in measures if not _is_answer_match(measure)]:
            judged = {qrel.query_id for qrel in self.qrels}
            by_measure |= evaluate_per_query(self.qrels, self._without_unjudged(run, judged), by_qrels)
        if by_answers := [measure for measure in measures if _is_answer_match(measure)]:
            text_of = cast("Callable[[str], str]", self.text_of)  # checked by __post_init__
            answered = self._without_unjudged(run, set(self.answers))
            by_measure |= answer_match_by_query(answered, self.answers, text_of, by_answers, regex=self.regex)
        values = {str(measure): by_measure[measure] for measure in self.parsed_measures}
        return values, {measure["cutoff"]: _mean(by_measure[measure]) for measure in curve}

    def _without_unjudged(self, run: Sequence[ScoredDoc], judged: set[str]) -> list[ScoredDoc]:
        """Return a run without the unjudged queries of this set; unknown queries stay, so that a warning names them."""
        unjudged = self.queries.keys() - judged
        return [hit for hit in run if hit.query_id not in unjudged]

    def _curve_measures(self) -> list[Measure]:
        name = self.curve_measure
        deepest = min(self.k, _MAX_ANSWER_CUTOFF) if name == AnswerMatch.NAME else self.k
        parsed = [ir_measures.parse_measure(f"{name}@{cutoff}") for cutoff in _CURVE_CUTOFFS if cutoff <= deepest]
        return [measure for measure in parsed if isinstance(measure, Measure)]


def _is_answer_match(measure: Measure) -> bool:
    return measure.NAME == AnswerMatch.NAME


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / max(1, len(values))
