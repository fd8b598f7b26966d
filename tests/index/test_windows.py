"""Windows of passages, bounded in number and bytes."""

from itertools import count, islice

import numpy as np
import pytest
from hashing import HashingEncoder

from elasticdenser.datasets import Corpus, Passage
from elasticdenser.index import PassageIndex, windows
from elasticdenser.index.windows import in_windows


def sizes(lengths, max_passages=3, **changes):
    passages = (Passage(doc_id=str(n), text="é" * (length // 2), **changes) for n, length in enumerate(lengths))
    return [len(window) for window in in_windows(passages, max_passages)]


def test_windows_are_bounded_in_number_and_bytes(monkeypatch):
    monkeypatch.setattr(windows, "MAX_WINDOW_BYTES", 100)
    assert sizes([10] * 7) == [3, 3, 1]
    assert sizes([50] * 5) == [2, 2, 1]
    assert sizes([50] * 5, title="t") == [1] * 5
    assert sizes([10, 1000, 10, 10, 98, 4]) == [1, 1, 2, 1, 1]
    assert sizes([]) == []


def test_a_full_window_is_yielded_before_more_is_read():
    read = count()
    endless = (Passage(doc_id=str(number), text="x") for number in read)
    assert len(next(in_windows(endless, 5))) == 5 and next(read) == 5


def test_lone_surrogates_have_a_length():
    assert sizes([2]) == [1]
    assert len(list(islice(in_windows(iter([Passage(doc_id="1", text="\ud800")]), 5), 1))) == 1


@pytest.mark.slow
def test_an_index_does_not_depend_on_the_windows(tmp_path, monkeypatch):
    passages = [Passage(doc_id=str(n), text="word " * (n * 7 % 40 + 1)) for n in range(50)]
    corpus = Corpus.from_passages("some", lambda: passages)
    whole = PassageIndex.build(corpus, tmp_path / "whole", HashingEncoder())
    monkeypatch.setattr(windows, "MAX_WINDOW_BYTES", 300)
    parts = PassageIndex.build(corpus, tmp_path / "parts", HashingEncoder())
    assert np.array_equal(whole.vectors, parts.vectors) and list(whole.doc_ids) == list(parts.doc_ids)
