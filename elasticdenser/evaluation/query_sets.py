"""A query set: queries over a corpus, with what tells good hits from bad, and the measures to compute."""

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
from elasticdenser.evaluation.answers import answer_ranks
from elasticdenser.evaluation.comparison import QuerySetInfo
from elasticdenser.evaluation.measures import AnswerMatch, check_documents, evaluate_per_query, parse_measures

_CURVE = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_TIMED_K = 100
_MOST_TEXTS = 100
"""Texts are searched for answers down to this rank at most in curves: each one costs time."""


@dataclass(frozen=True, kw_only=True)
class QuerySet:
    """Queries over a corpus, and how hits are judged.

    Args:
        name: Short name, such as `nq-dev`.
        queries: Query id -> text.
        measures: Measures in the grammar of ir_measures, and `AnswerMatch@k`; the first is the primary one.
        qrels: Relevance judgements, for all measures but AnswerMatch.
        answers: Query id -> accepted answers, for AnswerMatch.
        text_of: Document id -> text of the passage (KeyError if unknown), for AnswerMatch.
        regex: Whether answers are regular expressions.
        ignore_identical_ids: Whether a hit with its query's own id is left out: some sets ask with their documents.
        k: Hits a query that systems are asked for; no measure may look deeper.
        title: What it is in plain words.
        n_passages: Passages of the corpus, if known.
        has_document: Tells whether the corpus holds a document id; None if that is not known.
        typing_errors: How many each of `queries` was given, for the report.
        origin: What `queries` were before that; the report compares query sets of one origin.

    Raises:
        BadInputError: A measure cannot be computed with what is given.
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
                message = f"{measure} looks at {cutoff} hits, but k is {self.k}: raise k or leave the measure out"
                raise BadInputError(f"query set {self.name!r}: {message}")
        if any(_is_answer_match(measure) for measure in parsed) and not (self.answers and self.text_of):
            message = "AnswerMatch needs answers and the texts of the passages: give both, or leave it out"
            raise BadInputError(f"query set {self.name!r}: {message}")
        if not all(_is_answer_match(measure) for measure in parsed) and not self.qrels:
            names = ", ".join(str(measure) for measure in parsed if not _is_answer_match(measure))
            message = f"there are no judgements for {names}: give qrels, or use AnswerMatch@k"
            raise BadInputError(f"query set {self.name!r}: {message}")
        self._check_ids("judgements", {qrel.query_id for qrel in self.qrels})
        self._check_ids("answers", set(self.answers))

    def _check_ids(self, what: str, ids: set[str]) -> None:
        if lacking := ids - set(self.queries):
            message = (
                f"there are {what} for {len(lacking)} queries that it lacks, such as {min(lacking)!r}: give the "
                f"{what} that belong to it, or complete its queries"
            )
            raise BadInputError(f"query set {self.name!r}: {message}")

    @property
    def parsed_measures(self) -> list[Measure]:
        """The measures as objects of ir_measures."""
        return parse_measures(self.measures)

    @property
    def judged(self) -> dict[str, str]:
        """The queries that count: those with judgements or answers; systems are asked only these."""
        if not self.qrels:
            return {query_id: text for query_id, text in self.queries.items() if query_id in self.answers}
        known = {qrel.query_id for qrel in self.qrels}
        needs_answers = any(_is_answer_match(measure) for measure in self.parsed_measures)
        if needs_answers:
            known |= set(self.answers)
        return {query_id: text for query_id, text in self.queries.items() if query_id in known}

    @property
    def timed_k(self) -> int:
        """Hits a query when systems are timed: as many as a page or a reranker takes, and enough to fuse."""
        return min(_TIMED_K, self.k)

    @property
    def curve_measure(self) -> str:
        """Measure of the recall curve without its cut-off: R at the table's relevance level, or AnswerMatch."""
        for measure in self.parsed_measures:
            if measure.NAME in ("R", "Success"):
                level = measure.params.get("rel", 1)
                return "R" if level == 1 else f"R(rel={level})"
        return "R" if self.qrels else "AnswerMatch"

    def fingerprint(self) -> str:
        """Return the SHA-256 over queries, judgements and answers, in their order."""
        digest = hashlib.sha256()
        qrels = sorted((qrel.query_id, qrel.doc_id, qrel.relevance) for qrel in self.qrels)
        answers = {query_id: list(accepted) for query_id, accepted in self.answers.items()}
        for part in (dict(self.queries), qrels, answers, self.regex, self.ignore_identical_ids):
            digest.update(json.dumps(part, ensure_ascii=False).encode())
        return digest.hexdigest()

    def info(self) -> QuerySetInfo:
        """Describe it for a report."""
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
            origin=self.origin,
        )

    def check(self, run: Sequence[ScoredDoc]) -> None:
        """Refuse a run over another corpus, and warn of single unknown documents.

        Raises:
            BadInputError: No document of the run is in the corpus.
        """
        if self.has_document is not None:
            check_documents(run, self.has_document, self.title or self.name)

    def measure(self, run: Sequence[ScoredDoc]) -> tuple[dict[str, dict[str, float]], dict[int, float]]:
        """Measure a run.

        Returns:
            Measure -> query id -> value, over the judged queries (or, for AnswerMatch, those with answers), where a
            query without hits counts 0; and the recall curve as cut-off -> mean.

        Raises:
            BadInputError: The run has nothing in common with the query set, or is not a run.
        """
        if self.ignore_identical_ids:
            run = [hit for hit in run if hit.query_id != hit.doc_id]
        curve = self._curve()
        wanted = list(dict.fromkeys([*self.parsed_measures, *curve]))
        found: dict[Measure, dict[str, float]] = {}
        if by_qrels := [measure for measure in wanted if not _is_answer_match(measure)]:
            judged = {qrel.query_id for qrel in self.qrels}
            found |= evaluate_per_query(self.qrels, self._of(run, judged), by_qrels)
        if by_answers := [measure for measure in wanted if _is_answer_match(measure)]:
            found |= self._answer_match(self._of(run, set(self.answers)), by_answers)
        values = {str(measure): found[measure] for measure in self.parsed_measures}
        return values, {measure["cutoff"]: _mean(found[measure]) for measure in curve}

    def _of(self, run: Sequence[ScoredDoc], counted: set[str]) -> list[ScoredDoc]:
        """Leave out the queries that we know and that have no part in a measure; unknown ones are warned of later."""
        idle = self.queries.keys() - counted
        return [hit for hit in run if hit.query_id not in idle]

    def _curve(self) -> list[Measure]:
        name = self.curve_measure
        deepest = min(self.k, _MOST_TEXTS) if name == "AnswerMatch" else self.k
        parsed = [ir_measures.parse_measure(f"{name}@{cutoff}") for cutoff in _CURVE if cutoff <= deepest]
        return [measure for measure in parsed if isinstance(measure, Measure)]

    def _answer_match(self, run: Sequence[ScoredDoc], measures: Sequence[Measure]) -> dict[Measure, dict[str, float]]:
        cutoffs = {measure: int(measure["cutoff"]) for measure in measures}
        text_of = cast("Callable[[str], str]", self.text_of)  # checked when the query set was made
        ranks = answer_ranks(run, self.answers, text_of, max(cutoffs.values()), regex=self.regex)
        return {
            measure: {query_id: float(rank is not None and rank <= cutoff) for query_id, rank in ranks.items()}
            for measure, cutoff in cutoffs.items()
        }


def _is_answer_match(measure: Measure) -> bool:
    return measure.NAME == AnswerMatch.NAME


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / max(1, len(values))
