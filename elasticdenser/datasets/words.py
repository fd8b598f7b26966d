"""Words of a text in any script."""

from __future__ import annotations

import unicodedata
from itertools import groupby

_JOINERS = "\u200c\u200d"
"""Joiner and non-joiner, invisible characters within words of Persian and of Indic scripts."""


def split_words(text: str) -> list[str]:
    """Return the words of a text in any script: runs of letters, marks and digits, and single other characters."""
    words = []
    for is_word, characters in groupby(text, _is_word_character):
        if is_word:
            words.append("".join(characters))
        else:
            words += [character for character in characters if not character.isspace()]
    return words


def _is_word_character(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character)[0] in "LMN"
