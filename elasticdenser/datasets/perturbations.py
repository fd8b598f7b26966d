"""Perturbations of texts by name: slips of characters and of words that people make when they type.

A perturbation keeps what a text means for a reader as far as a slip does, so that judgements and labels stay valid.
Each is deterministic: the same text, name and key give the same slip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from elasticdenser.datasets.text_variants import without_a_word
from elasticdenser.datasets.typing_errors import with_typing_errors
from elasticdenser.errors import BadInputError

Perturbation = Callable[[str, Random], str]
"""Changes a text, and draws from the source of randomness."""


def with_swapped_words(text: str, random: Random) -> str:
    """Return a text in which two neighbouring, different words changed places; unchanged if there are none."""
    words = text.split()
    places = [place for place in range(len(words) - 1) if words[place] != words[place + 1]]
    if not places:
        return text
    place = random.choice(places)
    words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


def with_repeated_word(text: str, random: Random) -> str:
    """Return a text in which one word stands twice; unchanged if it has none."""
    words = text.split()
    if not words:
        return text
    place = random.randrange(len(words))
    return " ".join([*words[: place + 1], *words[place:]])


def _typing_errors(text: str, random: Random, *, n_errors: int) -> str:
    return with_typing_errors(text, n_errors, random)


PERTURBATIONS: Mapping[str, Perturbation] = {
    "typing-error": partial(_typing_errors, n_errors=1),
    "two-typing-errors": partial(_typing_errors, n_errors=2),
    "dropped-word": without_a_word,
    "swapped-words": with_swapped_words,
    "repeated-word": with_repeated_word,
    "lower-case": lambda text, random: text.lower(),
    "capitals": lambda text, random: text.upper(),
}
"""Perturbations by name."""


def check_perturbation(name: str) -> None:
    """Check that there is a perturbation of a name.

    Raises:
        BadInputError: There is none.
    """
    if name not in PERTURBATIONS:
        raise BadInputError(f"got the perturbation {name!r}, expected one of {', '.join(PERTURBATIONS)}")


def perturbed(text: str, name: str, key: str) -> str:
    """Return a text with a slip.

    Args:
        text: Any text.
        name: Name of the perturbation.
        key: Seed: the id of a query, or the number of an example.

    Raises:
        BadInputError: There is no such perturbation.
    """
    check_perturbation(name)
    return PERTURBATIONS[name](text, Random(f"{key} {name}"))
