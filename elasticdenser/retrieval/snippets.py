"""Snippets: the sentence of a passage that matches a query best, by the encoder itself, with the query's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import NamedTuple

from elasticdenser.arrays import Floats
from elasticdenser.datasets.sentences import sentence_spans
from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.index import PassageIndex
from elasticdenser.index.lexical import Analyzer

_MAX_SENTENCES = 64
"""Sentences of one passage that are scored, the first ones: a bound on the time for very long passages."""

Span = tuple[int, int]
"""Positions of the first character and behind the last one, in Unicode characters of a passage's text."""


class Sentence(NamedTuple):
    """Sentence of a passage, without the white space around it.

    Attributes:
        passage: Number of the passage among those that are looked at.
        start: Position of its first character in the passage's text.
        end: Position behind its last character.
        text: The sentence.
    """

    passage: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """The sentence of a passage that matches a query best.

    Attributes:
        start: Position of its first character in the passage's text.
        end: Position behind its last character.
        score: Inner product with the query, by the full encoder; None if the passage has no text.
        words: Words of the sentence that are words of the query, in any of their forms.
    """

    start: int = 0
    end: int = 0
    score: float | None = None
    words: tuple[Span, ...] = ()


def make_snippets(encoder: ElasticQueryEncoder, index: PassageIndex, query: str, texts: Sequence[str]) -> list[Snippet]:
    """Return the best sentence of each text.

    Args:
        encoder: The full encoder scores the sentences.
        index: Its stemmer tells which words are the same.
        query: The query.
        texts: Texts of passages.
    """
    sentences = split_into_sentences(texts)
    if not sentences:
        return [Snippet()] * len(texts)
    vector = encoder.encode([query])[0]
    scores = score_sentences(encoder, vector, [sentence.text for sentence in sentences])
    return best_snippets(index, query, len(texts), sentences, scores)


def split_into_sentences(texts: Sequence[str]) -> list[Sentence]:
    """Return the sentences of texts, those of each text in their order."""
    return [sentence for number, text in enumerate(texts) for sentence in _split(number, text)]


def score_sentences(encoder: ElasticQueryEncoder, vector: Floats, sentences: Sequence[str]) -> list[float]:
    """Return the score of each sentence for the query of a vector, float32, (dim,)."""
    # A student does not know how its teacher reads passages; sentences are as short as queries.
    encode = encoder.encode_passages if encoder.space is None else encoder.encode
    scores: list[float] = (encode(sentences) @ vector).tolist()
    return scores


def best_snippets(
    index: PassageIndex, query: str, n_passages: int, sentences: Sequence[Sentence], scores: Sequence[float]
) -> list[Snippet]:
    """Return the sentence of the highest score of each passage; of equal ones the first.

    Args:
        index: As for `make_snippets`.
        query: The query.
        n_passages: Number of passages.
        sentences: Their sentences.
        scores: Score of each sentence.
    """
    best: dict[int, tuple[float, Sentence]] = {}
    for sentence, score in zip(sentences, scores, strict=True):
        if sentence.passage not in best or score > best[sentence.passage][0]:
            best[sentence.passage] = score, sentence
    analyzer = _default_analyzer() if index.lexical is None else index.lexical.analyzer
    wanted = frozenset(analyzer.words(query))
    snippets = [Snippet()] * n_passages
    for number, (score, (_, start, end, text)) in best.items():
        spans = tuple((start + first, start + last) for first, last, word in analyzer.spans(text) if word in wanted)
        snippets[number] = Snippet(start=start, end=end, score=score, words=spans)
    return snippets


def _split(passage: int, text: str) -> list[Sentence]:
    stripped = []
    for start, end in islice(sentence_spans(text), _MAX_SENTENCES):
        sentence = text[start:end].strip()
        if sentence:
            start += len(text[start:end]) - len(text[start:end].lstrip())
            stripped.append(Sentence(passage, start, start + len(sentence), sentence))
    return stripped


@cache
def _default_analyzer() -> Analyzer:
    return Analyzer()
