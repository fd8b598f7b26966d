from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.datasets.words import split_words
from elasticdenser.errors import ModelError
from elasticdenser.models.projection import ProjectionSettings, Ternary, WordProjection

DUNE = "++0--+0000+00-000000-0+00+0+000-"
ATHENS = "00--0+00-00-+-+--00--000+-000000"
"""Features as first stored: trained models depend on them."""


def similarity(first: Ternary, second: Ternary) -> float:
    first, second = first.astype(float), second.astype(float)
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def test_features_are_minus_one_zero_or_one_and_half_of_them_zero() -> None:
    features = WordProjection(ProjectionSettings())(split_words("the quick brown fox jumps over the lazy dog"))
    assert features.dtype == np.int8 and features.shape == (9, 512)
    assert set(np.unique(features)) == {-1, 0, 1}
    assert 0.4 < (features == 0).mean() < 0.7
    assert abs(features.astype(float).mean()) < 0.05


def test_features_are_those_of_earlier_versions() -> None:
    features = WordProjection(ProjectionSettings(n_features=32))(["dune", "Αθήνα"])
    assert "".join("-0+"[value + 1] for value in features[0]) == DUNE
    assert "".join("-0+"[value + 1] for value in features[1]) == ATHENS


def test_features_of_a_word_do_not_depend_on_other_words() -> None:
    projection = WordProjection(ProjectionSettings())
    words = ["who", "", "wrote", "北京", "x" * 1000, "\ud800"]
    alone = np.concatenate([projection([word]) for word in words])
    np.testing.assert_array_equal(projection(words), alone)
    assert projection([]).shape == (0, 512)


@pytest.mark.parametrize(("word", "mistyped"), [("france", "framce"), ("retrieval", "retreival"), ("dogs", "dog")])
def test_a_typing_error_keeps_most_of_a_words_features(word: str, mistyped: str) -> None:
    with_ngrams, whole = WordProjection(ProjectionSettings()), WordProjection(ProjectionSettings(ngrams=()))
    assert similarity(*with_ngrams([word, mistyped])) > 0.35
    assert abs(similarity(*whole([word, mistyped]))) < 0.2
    assert abs(similarity(*with_ngrams([word, "quixotic"]))) < 0.2


def test_case_and_seed_are_settings() -> None:
    plain = WordProjection(ProjectionSettings())
    np.testing.assert_array_equal(plain(["Dune"]), plain(["dune"]))
    upper, lower = WordProjection(ProjectionSettings(lower_case=False))(["Dune", "dune"])
    assert (upper != lower).any()
    assert (WordProjection(ProjectionSettings(seed=1))(["dune"]) != plain(["dune"])).any()


def test_words_end_at_spaces_and_punctuation() -> None:
    assert split_words("Who wrote  Dune's sequel?") == ["Who", "wrote", "Dune", "'", "s", "sequel", "?"]


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(ModelError, match="got 100 features of a word, expected a multiple of 32"):
        ProjectionSettings(n_features=100)
    with pytest.raises(ModelError, match="got n-grams of 0 characters, expected at least 1"):
        ProjectionSettings(ngrams=(0, 3))
