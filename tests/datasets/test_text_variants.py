"""Variants of texts."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.datasets.text_variants import as_keywords, with_variant, without_a_word, without_case


@pytest.mark.parametrize(
    ("text", "keywords", "caseless"),
    [
        ("Who wrote the novel Dune?", "wrote novel Dune", "who wrote the novel dune"),
        ("It doesn't cost 3.14, or 1,000.", "doesnt cost 3.14 1,000", "it doesnt cost 3.14 or 1,000"),
        ("Use `max_words` (not maxWords) in C++!", "Use max_words maxWords C++", "use max_words not maxwords in c++"),
        ("to be, or not to be", "", "to be or not to be"),
        ("दिल्ली कहाँ है?", "दिल्ली कहाँ है", "दिल्ली कहाँ है"),
        ("?!", "", ""),
    ],
)
def test_keywords_and_lower_case(text, keywords, caseless):
    assert (as_keywords(text), without_case(text)) == (keywords, caseless)


def test_one_word_is_left_out():
    text = "who wrote the novel dune"
    variants = {without_a_word(text, Random(seed)) for seed in range(50)}
    assert variants == {" ".join(word for word in text.split() if word != dropped) for dropped in text.split()}
    assert without_a_word("dune novel", Random(0)) == "dune novel"


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.integers(0, 1000))
def test_a_variant_is_deterministic_and_never_empty(text, seed):
    variant = with_variant(text, Random(seed))
    assert variant == with_variant(text, Random(seed))
    assert bool(variant.strip()) == bool(text.strip())


def test_all_kinds_of_variants_occur():
    variants = {with_variant("Who wrote the novel Dune?", Random(seed)) for seed in range(100)}
    assert {"wrote novel Dune", "who wrote the novel dune", "Who wrote the novel"} <= variants
