"""Typing errors: what a query looks like when it was typed in haste."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

# Runs of letters: no digits, whose change would ask for something else.
_WORD = re.compile(r"[^\W\d_]{4,}")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def with_typing_errors(text: str, n_errors: int, random: Random) -> str:
    """Return `text` with typing errors in its words of at least four letters.

    An error is one of four kinds, each as likely where it is possible: two neighbouring letters swapped, a letter
    left out, a letter doubled, or the letter of a neighbouring key (QWERTY) instead. The first letter of a word stays
    (as in Pruthi et al. 2019). Errors fall into different words as long as there are any left, and none undoes another.
    Deterministic: the same state of `random` gives the same errors.

    Args:
        text: Any text.
        n_errors: How many; each is at most one insertion, deletion, substitution or swap.
        random: Source of chance.

    Returns:
        The text with errors, which is as it was where it has no such word or `n_errors` is 0. It is never empty where
        the text is not.
    """
    words = list(_WORD.finditer(text))
    if not words or n_errors < 1:
        return text
    order = random.sample(range(len(words)), len(words))
    counts = [0] * len(words)
    for number in range(n_errors):
        counts[order[number % len(order)]] += 1
    pieces, end = [], 0
    for word, count in zip(words, counts, strict=True):
        pieces += [text[end : word.start()], _mistyped(word[0], count, random)]
        end = word.end()
    return "".join([*pieces, text[end:]])


def _mistyped(word: str, n_errors: int, random: Random) -> str:
    forms = [word]
    for _ in range(n_errors):
        kinds = [[form for form in kind(forms[-1]) if form not in forms] for kind in _KINDS]
        possible = [kind for kind in kinds if kind]
        if possible:
            forms.append(random.choice(random.choice(possible)))
    return forms[-1]


def _swapped(word: str) -> Iterator[str]:
    for at in range(1, len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _dropped(word: str) -> Iterator[str]:
    for at in range(1, len(word)):
        yield word[:at] + word[at + 1 :]


def _doubled(word: str) -> Iterator[str]:
    for at in range(1, len(word)):
        yield word[: at + 1] + word[at:]


def _wrong_key(word: str) -> Iterator[str]:
    for at in range(1, len(word)):
        for key in _NEIGHBOURS.get(word[at].lower(), ""):
            yield word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]


_KINDS = (_swapped, _dropped, _doubled, _wrong_key)


def _neighbours() -> dict[str, str]:
    """Return the keys that touch each key; each row stands half a key to the right of the one above it."""
    around = {}
    for y, row in enumerate(_ROWS):
        for x, key in enumerate(row):
            places = [(y, x - 1), (y, x + 1), (y - 1, x), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x)]
            there = [(y, x) for y, x in places if 0 <= y < len(_ROWS) and 0 <= x < len(_ROWS[y])]
            around[key] = "".join(_ROWS[y][x] for y, x in there)
    return around


_NEIGHBOURS = _neighbours()
