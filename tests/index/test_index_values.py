"""Values that users of the library give and see: ids, k, passages in memory, pickles and reprs."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hashing import HashingEncoder, make_corpus, unit_vectors

from elasticdenser.datasets import Passage
from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.index import PassageIndex

PASSAGES = [Passage("7", "seven", "T"), Passage("x", "an x")]


@pytest.fixture
def index(tmp_path):
    return PassageIndex.build(PASSAGES, tmp_path / "index", HashingEncoder())


def test_integer_ids_are_taken_as_their_text(index):
    assert index.passage(7) == index.passage("7") == PASSAGES[0]
    assert index.text(np.int64(7)) == "seven"
    assert index.positions([7, "x", np.int32(7)]).tolist() == [0, 1, 0]
    for wrong in (7.0, None, True, b"7", ("7",)):
        with pytest.raises(QueryError, match=r"got the document id .*, expected a string or an integer"):
            index.passage(wrong)
    for wrong in (7, "7", b"7", None):
        with pytest.raises(QueryError, match=r"got doc_ids = .*, expected a collection of document ids, such as \["):
            index.positions(wrong)
    with pytest.raises(QueryError, match="1 of 1 document ids are not in the index, such as '8'"):
        index.passage(8)


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (2.0, "got k = 2.0, expected a whole number of at least 1: use k = 2"),
        (2.5, "got k = 2.5, expected a whole number of at least 1"),
        (True, "got k = True, expected a whole number"),
        ("2", "got k = '2', expected a whole number"),
        (None, "got k = None, expected a whole number"),
        (np.int64(0), "got k = 0, expected at least 1"),
    ],
)
def test_a_k_that_is_no_whole_number_is_refused(index, k, message):
    with pytest.raises(QueryError, match=message):
        index.search(unit_vectors(1, 16), k)


def test_a_k_of_numpy_is_taken(index):
    assert index.search(unit_vectors(1, 16), np.int32(1))[1].shape == (1, 1)


@pytest.mark.parametrize("position", [-1, 2, 10**30, 0.0, True, "0", None])
def test_a_position_that_does_not_exist_is_refused(index, position):
    with pytest.raises(QueryError, match=r"got position .*, expected a whole number from 0 to 1"):
        index.passage_at(position)


@pytest.mark.parametrize(
    "passages",
    [
        PASSAGES,
        tuple(PASSAGES),
        iter(PASSAGES),
        [{"_id": 7, "title": "T", "text": "seven"}, {"id": "x", "contents": "an x", "when": object()}],
        [SimpleNamespace(doc_id=np.int64(7), title="T", text="seven"), Passage("x", "an x")],
    ],
    ids=["list", "tuple", "iterator", "mappings", "records"],
)
def test_an_index_is_built_of_passages_in_memory(tmp_path, passages):
    index = PassageIndex.build(passages, tmp_path / "index", HashingEncoder())
    assert [index.passage_at(position) for position in range(2)] == PASSAGES


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ([], "got an empty corpus, expected at least one"),
        (7, "got a corpus of type int, expected files or folders, or a list of passages"),
        (b"x.jsonl", "got a corpus of type bytes"),
        ({"_id": "7", "text": "seven"}, "got a corpus of type dict"),
        ([Passage("a", "b"), 7], r"passage number 2 is of type int; expected a Passage, a mapping such as"),
        (["a.jsonl", Passage("a", "b")], "passage number 1 is of type str"),
        ([{"text": "no id"}], "passage number 1: no '_id'"),
        ([{"_id": "a"}], "passage number 1: no 'text'"),
        ([{"_id": True, "text": "a"}], "passage number 1: '_id' is a JSON boolean"),
        ([Passage("a", None)], "passage number 1: passage .a. has no text"),
        ([Passage("a", "b"), Passage("a", "c")], "id 'a' is already that of"),
        (["no such file"], "no such file"),
    ],
)
def test_what_is_no_corpus_is_refused(tmp_path, passages, message):
    with pytest.raises(BadInputError, match=message):
        PassageIndex.build(passages, tmp_path / "index", HashingEncoder())
    assert list(tmp_path.iterdir()) == []


def test_an_index_is_pickled_by_its_path(index, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    relative = PassageIndex.open("index")
    content = pickle.dumps(relative)
    assert len(content) < 500
    monkeypatch.chdir("/")
    for again in (pickle.loads(content), copy.copy(index)):
        assert list(again.doc_ids) == ["7", "x"]


def test_a_repr_says_what_it_is(index):
    assert repr(index) == f"<PassageIndex {str(index.path)!r}: 2 passages, 16 dimensions>"
    assert repr(make_corpus(3)) == "<Corpus '3 passages'>"
