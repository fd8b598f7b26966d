"""Typing errors."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.datasets.typing_errors import _NEIGHBOURS, with_typing_errors

letters = st.sampled_from("aabcdelQWÉß日 ’-19")
texts = st.lists(letters, max_size=30).map("".join)


def edit_distance(first, second):
    """Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment)."""
    rows = [list(range(len(second) + 1))]
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            best = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and b == first[i - 2]:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(texts, st.integers(0, 5), st.integers(0, 1000))
def test_errors_are_bounded_and_deterministic(text, n_errors, seed):
    mistyped = with_typing_errors(text, n_errors, Random(seed))
    assert mistyped == with_typing_errors(text, n_errors, Random(seed))
    assert edit_distance(text, mistyped) <= 2 * n_errors
    assert bool(mistyped) == bool(text)


@pytest.mark.parametrize("seed", range(100))
def test_one_error_is_one_edit(seed):
    text = "Who wrote the novel Dune in 1965?"
    mistyped = with_typing_errors(text, 1, Random(seed))
    assert edit_distance(text, mistyped) == 1
    assert [word[0] for word in mistyped.split()] == [word[0] for word in text.split()]
    assert mistyped.startswith("Who ") and mistyped.endswith(" in 1965?") and " the " in mistyped


@pytest.mark.parametrize("seed", range(50))
def test_errors_fall_into_different_words(seed):
    text = "alpha bravo charlie"
    mistyped = with_typing_errors(text, 3, Random(seed)).split()
    assert [edit_distance(*pair) for pair in zip(text.split(), mistyped, strict=True)] == [1, 1, 1]


@pytest.mark.parametrize("text", ["aaaa", "dune", "日日日日", "ÉÉÉÉ"])
def test_no_error_undoes_another(text):
    assert all(with_typing_errors(text, n, Random(seed)) != text for n in range(1, 6) for seed in range(50))


@pytest.mark.parametrize("text", ["", "who is it", "1965 2001", "a-b-c-d", "x1y2z3", "   "])
def test_text_without_long_words_stays(text):
    assert with_typing_errors(text, 3, Random(0)) == text


def test_every_kind_of_error_occurs():
    variants = {with_typing_errors("Dune", 1, Random(seed)) for seed in range(2000)}
    swapped, dropped, doubled = {"Dnue", "Duen"}, {"Dne", "Due", "Dun"}, {"Duune", "Dunne", "Dunee"}
    wrong = {f"D{key}ne" for key in "yijh"} | {f"Du{key}e" for key in "bmhj"} | {f"Dun{key}" for key in "wrsd"}
    assert variants == swapped | dropped | doubled | wrong


def test_keys_touch_both_ways():
    assert len(_NEIGHBOURS) == 26
    assert all(key in _NEIGHBOURS[other] for key, others in _NEIGHBOURS.items() for other in others)
