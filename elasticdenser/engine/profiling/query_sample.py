"""Queries made from the passages of an index, for users who have no queries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import cycle, islice, pairwise
from random import Random
from typing import TYPE_CHECKING

from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
    from elasticdenser.retrieval.retriever import Retriever

_WORDS = 8
"""Words in a query: about as many as in a typical question of Natural Questions or MS MARCO."""
_SPECIAL_TOKENS = 2
"""Tokens that the tokenizer adds to each text, [CLS] and [SEP]."""

_MAX_QUERIES = 2000
"""Queries that are sorted by length: enough to fill every range that they fall into."""
_MIN_TEXTS = 10
"""A share of the hits of fewer texts says too little: the standard error would be above .05."""
_TRIES = 4
"""Passages tried for each text that is needed: most give one."""
_MIN_TOKENS = 4
"""Length of the shortest texts that are cut: about two words."""


def sample_queries(retriever: Retriever, n: int = 200, seed: int = 0) -> list[str]:
    """Return the first words of random passages of the index.

    Raises:
        QueryError: The index holds no texts.
    """
    index = retriever.index
    if not index.has_texts:
        raise QueryError("the index holds no texts to make queries of: give a file of queries (--queries)")
    positions = Random(seed).sample(range(len(index)), min(n, len(index)))
    queries = (" ".join(index.passage_at(position).text.split()[:_WORDS]) for position in sorted(positions))
    return [query for query in queries if query] or ["a query"]


def text_of_length(encoder: ElasticQueryEncoder, queries: Sequence[str], tokens: int) -> str:
    """Return words of the queries that together have at most so many tokens, and nearly as many.

    Args:
        encoder: Counts the tokens, special ones included.
        queries: The queries.
        tokens: The number of tokens, at most the encoder's limit.
    """
    words = list(islice(cycle(" ".join(queries).split()), max(1, tokens - _SPECIAL_TOKENS)))
    texts = [" ".join(words[:n]) for n in range(1, len(words) + 1)]
    if tokens >= encoder.settings.max_length:  # the encoder cuts a longer text off
        return texts[-1]
    fitting = bisect_right(texts, tokens, key=lambda text: encoder.count_tokens([text])[0])
    return texts[max(0, fitting - 1)]


def texts_by_length(retriever: Retriever, queries: Sequence[str], n: int, seed: int = 0) -> dict[int, list[str]]:
    """Return texts in ranges of lengths: queries of these lengths, and if they are too few, beginnings of passages.

    Args:
        retriever: The retriever, whose encoder counts the tokens.
        queries: The queries.
        n: Number of texts in a range.
        seed: Seed of the choice.

    Returns:
        Largest number of tokens of a range -> texts: up to 8, 16, 32, ... tokens, the last range up to the longest text
        that the encoder reads. Ranges are missing for which there are hardly any texts.
    """
    rng, max_length = Random(seed), retriever.encoder.settings.max_length
    sample = rng.sample(list(queries), min(len(queries), _MAX_QUERIES))
    lengths = retriever.encoder.count_tokens(sample)
    texts: dict[int, list[str]] = {}
    for below, max_tokens in pairwise((0, *_ranges(max_length))):
        of_length = [text for text, length in zip(sample, lengths, strict=True) if below < length <= max_tokens][:n]
        if retriever.index.has_texts:
            shortest, longest = max(below + 1, _MIN_TOKENS), min(max_tokens, max_length)
            of_length += islice(_beginnings(retriever, n, shortest, longest, rng), n - len(of_length))
        if len(of_length) >= _MIN_TEXTS:
            texts[max_tokens] = of_length
    return texts


def _ranges(max_length: int) -> Iterator[int]:
    """Yield the largest numbers of tokens of the ranges."""
    max_tokens = 8
    while max_tokens < max_length:
        yield max_tokens
        max_tokens *= 2
    yield max_tokens


def _beginnings(retriever: Retriever, n: int, shortest: int, longest: int, rng: Random) -> Iterator[str]:
    """Yield about `n` or more beginnings of random passages, of lengths in tokens drawn from the given range."""
    count_tokens, n_passages = retriever.encoder.count_tokens, len(retriever.index)
    # Short enough not to be cut off by the tokenizer, long enough to tell how many tokens a word has.
    n_sample_words = max(1, retriever.encoder.settings.max_length // 4)
    for position in rng.sample(range(n_passages), min(_TRIES * n, n_passages)):
        target = rng.randint(shortest, longest) - _SPECIAL_TOKENS
        words = _words_from(retriever, position, target)
        if not words:
            continue
        sample = words[:n_sample_words]
        tokens_per_word = (count_tokens([" ".join(sample)])[0] - _SPECIAL_TOKENS) / len(sample)
        text = " ".join(words[: max(1, round(target / max(1.0, tokens_per_word)))])
        if shortest <= count_tokens([text])[0] <= longest:
            yield text


def _words_from(retriever: Retriever, position: int, n: int) -> list[str]:
    """Return at least `n` words of the passage at a position and, if it is shorter, of those after it.

    Passages that follow each other are often parts of the same document.
    """
    words: list[str] = []
    for neighbour in range(position, min(position + n, len(retriever.index))):
        words += retriever.index.passage_at(neighbour).text.split()
        if len(words) >= n:
            break
    return words
