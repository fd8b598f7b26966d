"""Typing errors, as in queries that were typed in haste."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

_WORD = re.compile(r"[^\W\d_]{4,}")
"""Letters only: another digit would be another query."""

_KEYBOARD_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def with_typing_errors(text: str, n_errors: int, random: Random) -> str:
    """Return `text` with typing errors in its words of at least four letters.

    An error is one of four kinds, with equal probability where they are possible: two neighbouring letters swapped, a
    letter left out, a letter doubled, or replaced by that of a neighbouring key (QWERTY). The first letter of a word
    does not change (as in Pruthi et al., Combating Adversarial Misspellings with Robust Word Recognition, ACL 2019).
    Errors are in different words as long as there are words left, and no error undoes another. Deterministic: the same
    state of `random` gives the same errors.

    Args:
        text: Any text.
        n_errors: Number of errors; each is at most one insertion, deletion, substitution or swap.
        random: Source of randomness.

    Returns:
        The text with errors; unchanged if it has no such word or `n_errors` is 0, and never empty if `text` is not.
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
        new_forms = [[form for form in kind(forms[-1]) if form not in forms] for kind in _KINDS]
        possible = [forms_of_kind for forms_of_kind in new_forms if forms_of_kind]
        if possible:
            forms.append(random.choice(random.choice(possible)))
    return forms[-1]


def _swapped(word: str) -> Iterator[str]:
    for index in range(1, len(word) - 1):
        yield word[:index] + word[index + 1] + word[index] + word[index + 2 :]


def _dropped(word: str) -> Iterator[str]:
    for index in range(1, len(word)):
        yield word[:index] + word[index + 1 :]


def _doubled(word: str) -> Iterator[str]:
    for index in range(1, len(word)):
        yield word[: index + 1] + word[index:]


def _wrong_key(word: str) -> Iterator[str]:
    for index in range(1, len(word)):
        for key in _NEIGHBOURS.get(word[index].lower(), ""):
            yield word[:index] + (key.upper() if word[index].isupper() else key) + word[index + 1 :]


_KINDS = (_swapped, _dropped, _doubled, _wrong_key)


def _neighbouring_keys() -> dict[str, str]:
    """Return the keys that touch each key; each row is shifted by half a key against the row above."""
    neighbours = {}
    for y, row in enumerate(_KEYBOARD_ROWS):
        for x, key in enumerate(row):
            places = [(y, x - 1), (y, x + 1), (y - 1, x), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x)]
            existing = [(y, x) for y, x in places if 0 <= y < len(_KEYBOARD_ROWS) and 0 <= x < len(_KEYBOARD_ROWS[y])]
            neighbours[key] = "".join(_KEYBOARD_ROWS[y][x] for y, x in existing)
    return neighbours


_NEIGHBOURS = _neighbouring_keys()
