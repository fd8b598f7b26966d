"""Answer match for open-domain question answering: does a passage contain an answer?

The rule is that of DPR (Karpukhin et al., Dense Passage Retrieval for Open-Domain Question Answering, EMNLP
2020): both sides are decomposed (NFD), split into runs of letters, digits and marks or single other visible
characters, and lower-cased; the tokens of an answer must occur one after another. Titles are not searched.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache

import regex
from ir_measures import ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.measures import check_overlap

_TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
_CACHED_PASSAGES = 50_000


class Passage:
    """A text to look for answers in; it is split only when a first, cheap look does not rule them all out.

    Args:
        text: What to search.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.folded = _fold(unicodedata.normalize("NFD", text))

    @cached_property
    def tokens(self) -> str:
        """The tokens of the text; see `joined_tokens`."""
        return joined_tokens(self._text)


class AnswerMatcher:
    """The answers of one question, prepared to be looked for in many passages.

    Args:
        answers: Accepted spellings. One without any visible character is ignored (DPR finds it everywhere).
    """

    def __init__(self, answers: Sequence[str]) -> None:
        if isinstance(answers, str):
            raise BadInputError(f"got the single string {answers!r}, expected a list of answers: [{answers!r}]")
        prepared = dict.fromkeys(joined_tokens(answer) for answer in answers)
        # With each answer its longest token: a text that does not hold this one cannot hold the answer.
        self._answers = [(_fold(max(answer.split(), key=len)), answer) for answer in prepared if answer.strip()]

    def __bool__(self) -> bool:
        """Tell whether there is any answer to look for."""
        return bool(self._answers)

    def matches(self, passage: Passage | str) -> bool:
        """Tell whether a passage contains one of the answers."""
        if isinstance(passage, str):
            passage = Passage(passage)
        folded = passage.folded
        return any(token in folded and answer in passage.tokens for token, answer in self._answers)


def has_answer(answers: Sequence[str], text: str) -> bool:
    """Tell whether `text` contains one of `answers`, by the rule of DPR."""
    return AnswerMatcher(answers).matches(text)


def joined_tokens(text: str) -> str:
    """Return the lower-cased tokens of `text`, each between two spaces.

    No token holds a space, so the tokens of an answer follow one another in a text exactly if the one string
    is part of the other, which is far faster to test than lists. (Lower-casing after joining is right too:
    the only rule that looks at a character's neighbours, that of the final sigma, stops at a space.)
    """
    tokens = _TOKEN.findall(unicodedata.normalize("NFD", text))
    return f" {' '.join(tokens)} ".lower()


def _fold(text: str) -> str:
    """Lower-case with one form of sigma, so that the result does not depend on what stands around a token."""
    return text.lower().replace("ς", "σ")


def answer_match(
    run: Iterable[ScoredDoc],
    answers: Mapping[str, Sequence[str]],
    text_of: Callable[[str], str],
    ks: Sequence[int] = (1, 5, 20, 100),
) -> dict[int, float]:
    """Return, for each k, the share of questions with an answer in the text of the k best passages.

    Args:
        run: Hits. Ranked by descending score, equal scores in the order given; those of unknown questions are
            left out, with a warning.
        answers: Question id -> accepted answers. A question without hits counts as not answered.
        text_of: Document id -> text of the passage, without its title; raises KeyError if there is none.
        ks: Cut-offs, from 1.

    Raises:
        BadInputError: A cut-off, a question without answers or an unknown passage; nothing in common.
    """
    if not ks or any(not isinstance(k, int) or k < 1 for k in ks):
        raise BadInputError(f"got the cut-offs {list(ks)}, expected whole numbers from 1, such as 1, 5, 20, 100")
    ranked = _ranked(run, max(ks))
    check_overlap(set(answers), set(ranked))
    passage_of = lru_cache(maxsize=_CACHED_PASSAGES)(lambda doc_id: Passage(_text(text_of, doc_id)))
    found_at: list[int] = []
    for question_id, accepted in answers.items():
        matcher = AnswerMatcher(accepted)
        if not matcher:
            raise BadInputError(f"question {question_id!r} has no answers, expected at least one: add one or remove it")
        for rank, doc_id in enumerate(ranked.get(question_id, ()), start=1):
            if matcher.matches(passage_of(doc_id)):
                found_at.append(rank)
                break
    return {k: sum(rank <= k for rank in found_at) / len(answers) for k in sorted(set(ks))}


def _ranked(run: Iterable[ScoredDoc], k: int) -> dict[str, list[str]]:
    """Return the k best document ids of each query, best first."""
    hits: dict[str, list[tuple[str, float]]] = {}
    for hit in run:
        hits.setdefault(hit.query_id, []).append((hit.doc_id, float(hit.score)))
    return {
        query_id: [doc_id for doc_id, _ in sorted(found, key=lambda hit: hit[1], reverse=True)[:k]]
        for query_id, found in hits.items()
    }


def _text(text_of: Callable[[str], str], doc_id: str) -> str:
    """Look up a passage."""
    try:
        return text_of(doc_id)
    except KeyError as error:
        raise BadInputError(
            f"passage {doc_id!r} of the run is not in the corpus: give the corpus that was searched"
        ) from error
