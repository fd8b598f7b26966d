"""Postings as files of an index: built, kept, rebuilt, removed, and checked."""

import json
import os

import pytest
from hashing import HashingEncoder, assert_same, make_corpus

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, rebuild


def build(path, n=60, **options):
    return PassageIndex.build(make_corpus(n), path, HashingEncoder(), **options)


@pytest.fixture
def hybrid_index(tmp_path):
    return build(tmp_path / "index", hybrid=True)


def names_of(index):
    return {entry.name for entry in index.path.iterdir()} - {"manifest.json", ".checked.json"}


def found(index, query, k=100):
    return index.lexical.search(query, k)[1].tolist()


def test_words_of_titles_and_texts_are_found(hybrid_index):
    hits = found(hybrid_index, "number 17")
    assert hits[0] == 17 and sorted(hits) == list(range(60))
    assert found(hybrid_index, "T3") == [3, 17, 31, 45, 59]
    assert found(hybrid_index, "of the") == []


def test_an_index_without_postings_is_as_before(tmp_path):
    index = build(tmp_path / "index")
    assert index.lexical is None
    assert not [name for name in names_of(index) if name.startswith("lexical")]
    assert_same(index, 60)


def test_an_index_of_version_3_is_read(tmp_path):
    path = build(tmp_path / "index").path / "manifest.json"
    value = json.loads(path.read_text()) | {"version": 3}
    for key in ("lexical", "sha256"):
        del value[key]
    path.write_text(json.dumps(value))
    index = PassageIndex.open(tmp_path / "index")
    assert (index.manifest.version, index.lexical) == (3, None)
    assert_same(index, 60)


def test_postings_are_added_without_encoding_and_removed(tmp_path):
    index = build(tmp_path / "index", factory="HNSW4")
    before = {name: (index.path / name).stat().st_mtime_ns for name in names_of(index)}
    with_words = rebuild(index.path, hybrid=True)
    assert with_words.manifest.structure.factory == "HNSW4"
    assert found(with_words, "number 17")[0] == 17
    assert {name: (index.path / name).stat().st_mtime_ns for name in before} == before
    assert names_of(with_words) == set(with_words.manifest.files)
    without = rebuild(index.path, hybrid=False)
    assert without.lexical is None and names_of(without) == set(before)


def test_a_new_structure_keeps_the_postings(hybrid_index):
    again = rebuild(hybrid_index.path, "HNSW4")
    assert again.manifest.lexical == hybrid_index.manifest.lexical
    assert found(again, "number 17") == found(hybrid_index, "number 17")


def test_postings_are_replaced_by_those_of_another_stemmer(hybrid_index):
    for stemmer in ("none", "german", "none"):
        index = rebuild(hybrid_index.path, hybrid=True, stemmer=stemmer)
        assert index.lexical.analyzer.stemmer == stemmer
        assert names_of(index) == set(index.manifest.files)
    assert found(index, "numbers") == []
    assert found(hybrid_index, "numbers 17")[0] == 17  # an index that is open keeps its files


def test_an_unfinished_rebuild_leaves_the_old_postings(hybrid_index, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(hybrid_index.path / "lexical-again.ends"))

    monkeypatch.setattr("elasticdenser.index.lexical.building._distribute", full)
    before = names_of(hybrid_index)
    with pytest.raises(BuildError, match="the disk is full"):
        rebuild(hybrid_index.path, hybrid=True)
    assert names_of(hybrid_index) == before
    assert found(PassageIndex.open(hybrid_index.path, check="all"), "number 17")[0] == 17


@pytest.mark.parametrize("role", ["terms", "ends", "passages", "counts", "lengths"])
def test_damaged_postings_are_noticed_and_healed(hybrid_index, role):
    path = hybrid_index.path / f"lexical.{role}"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexFormatError, match=rf"lexical.{role} was altered.*run `elasticdenser rebuild .* --hybrid`"):
        PassageIndex.open(hybrid_index.path)
    healed = rebuild(hybrid_index.path, hybrid=True)
    assert found(healed, "number 17")[0] == 17
    path = healed.path / healed.manifest.lexical.file(role)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(IndexFormatError, match="bytes, expected"):
        PassageIndex.open(hybrid_index.path)


def test_postings_of_another_size_than_the_manifest_says_are_refused(hybrid_index):
    path = hybrid_index.path / "manifest.json"
    value = json.loads(path.read_text())
    del value["sha256"]
    value["lexical"]["n_terms"] += 1
    path.write_text(json.dumps(value))
    with pytest.raises(IndexFormatError, match=r"lists lexical\.terms with \d+ bytes, expected"):
        PassageIndex.open(hybrid_index.path)


@pytest.mark.parametrize("name", ["../lexical", "a/b", "", "."])
def test_files_elsewhere_are_refused(hybrid_index, name):
    path = hybrid_index.path / "manifest.json"
    value = json.loads(path.read_text())
    del value["sha256"]
    value["lexical"]["name"] = name
    path.write_text(json.dumps(value))
    with pytest.raises(IndexFormatError, match="outside of its folder"):
        PassageIndex.open(hybrid_index.path)


def test_postings_need_texts(tmp_path):
    with pytest.raises(BuildError, match="got --hybrid with --no-texts"):
        build(tmp_path / "index", hybrid=True, texts=False)
    build(tmp_path / "index", texts=False)
    with pytest.raises(IndexFormatError, match="holds no texts"):
        rebuild(tmp_path / "index", hybrid=True)


def test_the_same_build_again_leaves_the_index_and_names_the_way_to_other_words(tmp_path):
    encoder = HashingEncoder()
    for options in ({"hybrid": True}, {"hybrid": True}, {}):
        index = PassageIndex.build(make_corpus(60), tmp_path / "index", encoder, **options)
        assert index.lexical is not None
    assert encoder.n_encoded == 60
    with pytest.raises(BuildError, match=r"rebuild .*index --hybrid --stemmer none`"):
        PassageIndex.build(make_corpus(60), tmp_path / "index", encoder, hybrid=True, stemmer="none")


def test_passages_without_words_can_be_indexed(tmp_path):
    passages = [Passage("a", "?!"), Passage("b", "...")]
    index = PassageIndex.build(passages, tmp_path / "index", HashingEncoder(), hybrid=True)
    assert found(PassageIndex.open(index.path, check="all"), "anything") == []
