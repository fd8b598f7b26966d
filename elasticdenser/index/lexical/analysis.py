"""Analysis of texts: from a text to the words by which it is found, for passages and queries alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from threading import Lock
from typing import Any

from elasticdenser.errors import BuildError

DEFAULT_STEMMER = "porter"
"""The stemmer of Lucene's English analyzer. Unlike Snowball's other stemmers, it no longer changes between versions."""

NO_STEMMER = "none"

_TOKEN = r"[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*"
_ASCII_TOKEN = re.compile(r"[a-zA-Z0-9]+(?:'[a-zA-Z0-9]+)*")
"""The same for a text of ASCII, found in half the time."""

_POSSESSIVE = ("'s", "’s")
_ENGLISH = ("porter", "english")

_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
        "this to was will with",
    )
)
"""Those of Lucene's English analyzer."""


_KEPT_WORDS = 1 << 16
"""Some megabytes, and more than most queries of a day use."""


class Analyzer:
    """Turns texts into words; safe to use from several threads.

    A word consists of letters and digits, made lower case and without accents, and of apostrophes between them. The
    English stemmers come with Lucene's stop words, which are left out, and drop a possessive 's.

    Args:
        stemmer: Name of one of Snowball's stemmers, which are named after languages, or `porter`, or `none`.

    Raises:
        BuildError: There is no such stemmer.
    """

    def __init__(self, stemmer: str = DEFAULT_STEMMER) -> None:
        check_stemmer(stemmer)
        self.stemmer = stemmer
        self._stop_words = _STOP_WORDS if stemmer in _ENGLISH else frozenset()
        self._lock = Lock()
        self._words: dict[str, str] = {}

    def words(self, text: str) -> list[str]:
        """Return the words of a text in their order, repeated ones included."""
        return [word for _, _, word in self.spans(text)]

    def spans(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield (start, end, word) for each word of a text, in characters of the text."""
        for match in _pattern(text).finditer(text):
            if word := self.word(match[0]):
                yield match.start(), match.end(), word

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, of which `word` makes words."""
        tokens: list[str] = _pattern(text).findall(text)
        return tokens

    def word(self, token: str) -> str:
        """Return the word of a token; nothing if it is a stop word. The words of the last tokens are kept."""
        word = self._words.get(token)
        if word is None:
            if len(self._words) >= _KEPT_WORDS:
                self._words.clear()
            word = self._words[token] = self._analyze(token)
        return word

    def _analyze(self, token: str) -> str:
        token = _folded(token)
        if self.stemmer in _ENGLISH and token.endswith(_POSSESSIVE):
            token = token[:-2]
        if token in self._stop_words:
            return ""
        if self.stemmer == NO_STEMMER:
            return token
        with self._lock:  # a stemmer has a state
            return str(_snowball(self.stemmer).stemWord(token))


def check_stemmer(stemmer: str) -> None:
    """Refuse a stemmer that does not exist.

    Raises:
        BuildError: Snowball has no stemmer of this name.
    """
    import Stemmer  # only searches by words need it

    known = (*Stemmer.algorithms(), NO_STEMMER)
    if stemmer not in known:
        raise BuildError(f"got the stemmer {stemmer!r}, expected one of {', '.join(known)}")


def _pattern(text: str) -> Any:
    """Return the pattern of a token in a text."""
    return _ASCII_TOKEN if text.isascii() else _token_pattern()


@cache
def _token_pattern() -> Any:
    import regex  # takes time, and only searches by words need it

    return regex.compile(_TOKEN)


def word_hash(word: str) -> int:
    """Return a 64-bit hash of a word that is the same on every machine."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _folded(token: str) -> str:
    """Return a token in small letters without accents."""
    token = token.lower()
    if token.isascii():
        return token
    decomposed = unicodedata.normalize("NFKD", token)
    return unicodedata.normalize("NFC", "".join(char for char in decomposed if not unicodedata.combining(char)))


@cache
def _snowball(stemmer: str) -> Any:
    import Stemmer

    return Stemmer.Stemmer(stemmer)
