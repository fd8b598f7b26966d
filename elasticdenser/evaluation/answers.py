"""Answer match for open-domain question answering: whether a passage contains an answer.

This is the rule of DPR (Karpukhin et al., Dense Passage Retrieval for Open-Domain Question Answering, EMNLP
2020): both sides are decomposed (NFD), split into runs of letters, digits and marks or single other visible
characters, and lower-cased; the tokens of an answer must occur one after another. Titles are not searched.
Answers that are regular expressions (CuratedTREC) are searched for in the decomposed text, ignoring case.
"""

from __future__ import annotations

import logging
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache

import regex as unicode_regex
from ir_measures import Measure, ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.measures import check_overlap, hits_by_query

logger = logging.getLogger(__name__)

_TOKEN = unicode_regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_REGEX_FLAGS = re.IGNORECASE | re.UNICODE | re.MULTILINE
_CACHED_PASSAGES = 50_000
"""Passages kept in memory because several questions may find them: some 100 MB of text."""


class SearchableText:
    """Text of a passage, prepared for answer matching; each form is computed only when a matcher needs it.

    Args:
        text: Text of the passage, without its title.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def decomposed(self) -> str:
        """The text in NFD."""
        return unicodedata.normalize("NFD", self._text)

    @cached_property
    def folded(self) -> str:
        """The decomposed text in lower case."""
        return _fold(self.decomposed)

    @cached_property
    def tokens(self) -> str:
        """The tokens of the text, as `joined_tokens` returns them."""
        return joined_tokens(self._text)


class AnswerMatcher:
    """Matcher for the answers of one question, prepared for use on many passages.

    Args:
        answers: Accepted spellings. An answer without any visible character is ignored (DPR finds it everywhere).
        regex: Whether the answers are regular expressions of Python's `re`; an invalid one matches nothing.

    Attributes:
        invalid: The invalid expressions.

    Raises:
        BadInputError: `answers` is a single string instead of a list.
    """

    def __init__(self, answers: Sequence[str], *, regex: bool = False) -> None:
        if isinstance(answers, str):
            raise BadInputError(f"got the single string {answers!r}, expected a list of answers: [{answers!r}]")
        self.invalid: list[str] = []
        self._patterns: list[re.Pattern[str]] = []
        self._answers: list[tuple[str, str]] = []
        if regex:
            self._compile(answers)
            return
        prepared = dict.fromkeys(joined_tokens(answer) for answer in answers)
        # With each answer its longest token, as a cheap check: a text without this token cannot contain the answer.
        self._answers = [(_fold(max(answer.split(), key=len)), answer) for answer in prepared if answer.strip()]

    def __bool__(self) -> bool:
        """Tell whether there is any answer to look for."""
        return bool(self._answers or self._patterns)

    def matches(self, passage: SearchableText | str) -> bool:
        """Tell whether a passage contains at least one of the answers."""
        if isinstance(passage, str):
            passage = SearchableText(passage)
        if self._patterns:
            return any(pattern.search(passage.decomposed) for pattern in self._patterns)
        folded = passage.folded
        return any(token in folded and answer in passage.tokens for token, answer in self._answers)

    def _compile(self, answers: Sequence[str]) -> None:
        for answer in dict.fromkeys(answers):
            if not joined_tokens(answer).strip():
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # syntax whose meaning may change in a later Python
                    self._patterns.append(re.compile(unicodedata.normalize("NFD", answer), _REGEX_FLAGS))
            except (re.error, ValueError, OverflowError, RecursionError):
                self.invalid.append(answer)


def has_answer(answers: Sequence[str], text: str, *, regex: bool = False) -> bool:
    """Tell whether `text` contains at least one of `answers`, by the rule of DPR.

    Args:
        answers: Accepted spellings.
        text: Text of a passage, without its title.
        regex: Whether the answers are regular expressions; see `AnswerMatcher`.

    Raises:
        BadInputError: `answers` is a single string instead of a list.
    """
    return AnswerMatcher(answers, regex=regex).matches(text)


def joined_tokens(text: str) -> str:
    """Return the lower-cased tokens of `text`, each between two spaces.

    No token contains a space, so the tokens of an answer occur one after another in a text exactly if the joined
    answer is a substring of the joined text, which is much faster to test than lists of tokens. (Lower-casing may
    come after joining: the only rule that depends on neighbouring characters, for the final sigma, stops at a space.)
    """
    tokens = _TOKEN.findall(unicodedata.normalize("NFD", text))
    return f" {' '.join(tokens)} ".lower()


def _fold(text: str) -> str:
    """Lower-case with a single form of sigma, so that the result does not depend on the characters around a token."""
    return text.lower().replace("ς", "σ")


def answer_match(
    run: Iterable[ScoredDoc],
    answers: Mapping[str, Sequence[str]],
    text_of: Callable[[str], str],
    ks: Sequence[int] = (1, 5, 20, 100),
    *,
    regex: bool = False,
) -> dict[int, float]:
    """Return, for each k, the share of questions with an answer in the text of the k best passages.

    This is the measure `AnswerMatch@k`, the top-k accuracy of DPR.

    Args:
        run: Hits, ranked here by descending score, equal scores in the order given. Hits of unknown questions are
            left out with a warning.
        answers: Question id -> accepted answers. A question without hits counts as not answered.
        text_of: Document id -> text of the passage, without its title; raises KeyError for an unknown id.
        ks: Cut-offs, at least 1.
        regex: Whether the answers are regular expressions; see `AnswerMatcher`.

    Raises:
        BadInputError: A cut-off is below 1, a question has no answers, a passage is unknown, run and answers have no
            question in common, or `hits_by_query` refuses the run.
    """
    _check_cutoffs(ks)
    ranks = answer_ranks(run, answers, text_of, max(ks), regex=regex).values()
    return {k: sum(rank is not None and rank <= k for rank in ranks) / len(ranks) for k in sorted(set(ks))}


def answer_match_by_query(
    run: Iterable[ScoredDoc],
    answers: Mapping[str, Sequence[str]],
    text_of: Callable[[str], str],
    measures: Sequence[Measure],
    *,
    regex: bool = False,
) -> dict[Measure, dict[str, float]]:
    """Return AnswerMatch of each question: measure -> question id -> 1 if it is answered, else 0.

    Args:
        run: As for `answer_match`.
        answers: As for `answer_match`.
        text_of: As for `answer_match`.
        measures: Measures `AnswerMatch@k`, at least one.
        regex: As for `answer_match`.

    Raises:
        BadInputError: As for `answer_match`.
    """
    cutoffs = {measure: int(measure["cutoff"]) for measure in measures}
    ranks = answer_ranks(run, answers, text_of, max(cutoffs.values()), regex=regex)
    return {
        measure: {question_id: float(rank is not None and rank <= k) for question_id, rank in ranks.items()}
        for measure, k in cutoffs.items()
    }


def answer_ranks(
    run: Iterable[ScoredDoc],
    answers: Mapping[str, Sequence[str]],
    text_of: Callable[[str], str],
    k: int,
    *,
    regex: bool = False,
) -> dict[str, int | None]:
    """Return, for each question, the rank (from 1) of the first passage with an answer among the k best, or None.

    Args:
        run: As for `answer_match`.
        answers: As for `answer_match`; the questions are returned in their order.
        text_of: As for `answer_match`.
        k: Number of passages to search for answers.
        regex: Whether the answers are regular expressions; see `AnswerMatcher`.

    Raises:
        BadInputError: As for `answer_match`.
    """
    _check_cutoffs([k])
    ranked = _ranked(run, k)
    check_overlap(set(answers), set(ranked))
    passage_of = lru_cache(maxsize=_CACHED_PASSAGES)(lambda doc_id: SearchableText(_text(text_of, doc_id)))
    invalid: list[tuple[str, str]] = []
    ranks: dict[str, int | None] = {}
    for question_id, accepted in answers.items():
        matcher = AnswerMatcher(accepted, regex=regex)
        if not matcher and not matcher.invalid:
            raise BadInputError(f"question {question_id!r} has no answers, expected at least one: add one or remove it")
        invalid += [(question_id, answer) for answer in matcher.invalid]
        passages = enumerate(ranked.get(question_id, ()) if matcher else (), start=1)
        ranks[question_id] = next((rank for rank, doc_id in passages if matcher.matches(passage_of(doc_id))), None)
    if invalid:
        message = "%d answers are not valid regular expressions and match nothing, such as %r of question %r"
        logger.warning(message, len(invalid), invalid[0][1], invalid[0][0])
    return ranks


def _check_cutoffs(ks: Sequence[int]) -> None:
    if not ks or any(not isinstance(k, int) or k < 1 for k in ks):
        raise BadInputError(f"got the cut-offs {list(ks)}, expected whole numbers of at least 1, such as 1, 5, 20, 100")


def _ranked(run: Iterable[ScoredDoc], k: int) -> dict[str, list[str]]:
    """Return the k best document ids of each query, best first."""
    return {
        # Sorting with reverse=True is stable, so ties keep their order.
        query_id: [doc_id for doc_id, _ in sorted(hits.items(), key=lambda hit: hit[1], reverse=True)[:k]]
        for query_id, hits in hits_by_query(run).items()
    }


def _text(text_of: Callable[[str], str], doc_id: str) -> str:
    """Return the text of a passage; an unknown one is an error."""
    try:
        return text_of(doc_id)
    except KeyError as error:
        raise BadInputError(
            f"passage {doc_id!r} of the run is not in the corpus: give the corpus that was searched"
        ) from error
