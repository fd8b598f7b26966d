"""Variants of texts as people type them: keywords, lower case without punctuation, a word left out."""

from __future__ import annotations

from random import Random

import regex

_APOSTROPHE = regex.compile(r"(?<=\p{L})['’](?=\p{L})")
"""Apostrophe inside a word: people who leave it out leave no gap."""

_PUNCTUATION = regex.compile(r"[^\P{P}_]+(?!\d)|(?<!\d)[^\P{P}_]+|`")
"""Punctuation, but not that within numbers and identifiers: `3.14`, `1,000` and `max_words` are words."""

# fmt: off
_FUNCTION_WORDS = frozenset([
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "been", "before", "being", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "down",
    "during", "each", "few", "for", "from", "further", "had", "has", "have", "having", "he", "her", "here", "hers",
    "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "may", "me", "might", "more", "most",
    "must", "my", "no", "nor", "not", "of", "off", "on", "once", "only", "or", "other", "our", "out", "over", "own",
    "same", "shall", "she", "should", "so", "some", "such", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "us", "very", "was", "we",
    "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your",
])
# fmt: on


def as_keywords(text: str) -> str:
    """Return the words of an English text that are no function words, without punctuation; empty if there are none."""
    return " ".join(word for word in _words(text) if word.lower() not in _FUNCTION_WORDS)


def without_case(text: str) -> str:
    """Return a text in lower case without punctuation; empty if it is nothing else."""
    return " ".join(_words(text.lower()))


def without_a_word(text: str, random: Random) -> str:
    """Return a text without one of its words, drawn at random; unchanged if it has fewer than three.

    Of two words, the other alone is a different query.
    """
    words = text.split()
    if len(words) < 3:
        return text
    del words[random.randrange(len(words))]
    return " ".join(words)


def with_variant(text: str, random: Random) -> str:
    """Return a text as keywords, in lower case without punctuation, or without one word, with equal probability.

    Deterministic: the same state of `random` gives the same variant.

    Args:
        text: Any text. Function words are those of English.
        random: Source of randomness.

    Returns:
        The variant; the text itself if nothing would be left of it.
    """
    kind = random.randrange(3)
    variant = (as_keywords(text), without_case(text), without_a_word(text, random))[kind]
    return variant or text


def _words(text: str) -> list[str]:
    words: list[str] = _PUNCTUATION.sub(" ", _APOSTROPHE.sub("", text)).split()
    return words
