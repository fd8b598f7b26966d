"""Texts of a part of a corpus, on disk."""

from __future__ import annotations

import pytest

from elasticdenser.datasets import Passage
from elasticdenser.datasets.collected_texts import collect_texts
from elasticdenser.errors import BadInputError

PASSAGES = [Passage("a", text="naïve", title="Words"), Passage("b", text=""), Passage("c", text="third 🙂")]


def test_texts_have_their_titles_and_come_back_in_any_order():
    texts = collect_texts(PASSAGES)
    assert [texts[doc_id] for doc_id in ("c", "a", "b")] == ["third 🙂", "Words naïve", ""]
    assert len(texts) == 3 and "a" in texts and "x" not in texts


def test_only_the_wanted_ones_are_collected():
    texts = collect_texts(PASSAGES, {"c", "x"})
    assert len(texts) == 1 and texts["c"] == "third 🙂" and "a" not in texts


def test_an_id_may_come_again_with_the_same_text_only():
    texts = collect_texts([*PASSAGES, PASSAGES[0]])
    assert len(texts) == 3 and texts["a"] == "Words naïve"
    with pytest.raises(BadInputError, match="two texts for the id 'a'"):
        collect_texts([*PASSAGES, Passage("a", text="another")])


def test_progress_is_reported():
    calls = []
    collect_texts([Passage(str(number), text="x") for number in range(2500)], set(), lambda *call: calls.append(call))
    assert calls == [("reading the corpus", 1000, 0), ("reading the corpus", 2000, 0)]
