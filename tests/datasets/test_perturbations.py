"""Slips of characters and words, by name."""

from __future__ import annotations

from random import Random

import pytest

from elasticdenser.datasets.perturbations import (
    PERTURBATIONS,
    perturbed,
    with_repeated_word,
    with_swapped_words,
)
from elasticdenser.errors import BadInputError

TEXT = "Who directed the Sound of Music in 1965?"


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_slip_changes_the_text_and_depends_on_text_name_and_key_alone(name):
    slips = {perturbed(TEXT, name, str(number)) for number in range(40)}
    assert TEXT not in slips and "" not in slips
    assert perturbed(TEXT, name, "7") == perturbed(TEXT, name, "7")
    assert len(slips) == 1 if name in ("lower-case", "capitals") else len(slips) > 5


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("text", ["", "  ", "a", "dune", "né 5"])
def test_texts_with_little_to_change_stay_texts(name, text):
    assert bool(perturbed(text, name, "1").strip()) == bool(text.strip())


def test_word_slips_keep_the_words():
    words = TEXT.split()
    for number in range(20):
        swapped = with_swapped_words(TEXT, Random(number)).split()
        assert sorted(swapped) == sorted(words) and sum(a != b for a, b in zip(swapped, words, strict=True)) == 2
        repeated = with_repeated_word(TEXT, Random(number)).split()
        place = next(place for place in range(len(words)) if repeated[place] == repeated[place + 1])
        assert repeated[:place] + repeated[place + 1 :] == words
        dropped = perturbed(TEXT, "dropped-word", str(number)).split()
        assert len(dropped) == len(words) - 1 and all(word in words for word in dropped)


def test_equal_neighbours_are_not_swapped():
    assert with_swapped_words("yes yes yes", Random(0)) == "yes yes yes"
    assert with_swapped_words("yes yes no", Random(0)) == "yes no yes"


def test_an_unknown_slip_is_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match=r"got the perturbation 'typo', expected one of typing-error, "):
        perturbed(TEXT, "typo", "1")
